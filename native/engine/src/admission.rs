//! Whose connections are taken, and whom a request comes from.
//!
//! Connections are counted in one cell for all workers, and a client address's in each worker. One over either bound is
//! closed at once, before a byte of it is read: an answer would cost what the bound is there to save.
//!
//! The client of a request is the peer, unless the peer is a proxy that the configuration trusts. Then it is the last
//! address of `X-Forwarded-For` that is not itself trusted: every address to the right of it was written by somebody who
//! is believed, every one to the left by somebody who need not be.

use core::net::IpAddr;
use std::collections::HashMap;

use gatewayx_http::{FieldId, NoProxyHeader, Proxied, RequestHead, parse_proxy_header};
use gatewayx_policy::Network;
use gatewayx_telemetry::{Cells, Permits};

use crate::downstream::Peer;
use crate::engine::Engine;
use crate::metrics::{PERMIT_CELLS, cell};
use crate::output::CloseMode;
use crate::slab::Key;

/// Addresses of `X-Forwarded-For` that are read, from the right.
const CHAIN_MAX_COUNT: usize = 32;

/// An IPv6 client has a whole network of this size to choose addresses from.
const V6_PREFIX_MASK: u128 = !0 << 64;

/// Connections of callers, by address.
#[derive(Default)]
pub(crate) struct Addresses(HashMap<u128, u32>);

impl Addresses {
    /// `None`: it has as many as it may have.
    fn take(&mut self, peer: &Peer, max: u32) -> Option<u128> {
        let address = counted_address(peer)?;
        let count = self.0.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(address)
    }

    fn give_back(&mut self, address: u128) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
        if self.0.is_empty() {
            self.0.shrink_to(64);
        }
    }
}

fn counted_address(peer: &Peer) -> Option<u128> {
    match address_of(peer.as_bytes())? {
        IpAddr::V4(address) => Some(address.to_ipv6_mapped().to_bits()),
        IpAddr::V6(address) => match address.to_canonical() {
            IpAddr::V4(address) => Some(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Some(address.to_bits() & V6_PREFIX_MASK),
        },
    }
}

fn address_of(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Engine {
    /// Counts a new connection, or closes it.
    pub(crate) fn admit_connection(&mut self, key: Key) {
        let max = self.cfg.downstream.connections_max;
        if max > 0 {
            if !self.connection_permits().try_acquire(max) {
                return self.turn_away(key, cell::REFUSED_CONNECTIONS);
            }
            self.downstreams[key].holds_place = true;
        }
        if !self.downstreams[key].awaits_proxy_header {
            self.admit_address(key);
        }
    }

    fn admit_address(&mut self, key: Key) {
        let max = self.cfg.downstream.connections_per_address_max;
        if max == 0 {
            return;
        }
        let peer = self.downstreams[key].peer;
        match self.addresses.take(&peer, max) {
            Some(address) => self.downstreams[key].counted_address = Some(address),
            None if address_of(peer.as_bytes()).is_some() => {
                self.turn_away(key, cell::REFUSED_ADDRESS);
            }
            // A Unix socket has none.
            None => {}
        }
    }

    pub(crate) fn turn_away(&mut self, key: Key, counter: u32) {
        self.cells.add(counter, 1);
        self.remove_downstream(key, CloseMode::Reset);
    }

    /// A connection is gone: what it was counted in is given back.
    pub(crate) fn discharge_connection(&mut self, holds_place: bool, address: Option<u128>) {
        if holds_place {
            self.connection_permits().release();
        }
        if let Some(address) = address {
            self.addresses.give_back(address);
        }
    }

    /// Of block 0, which is no proxy's.
    fn connection_permits(&self) -> Permits<'_> {
        let (shared, slots): &(Cells, Vec<Cells>) = &self.connection_cells;
        Permits::new(shared, slots, self.slot, PERMIT_CELLS)
    }

    /// The first bytes of a connection whose balancer says whom it comes from. Returns how many were the header's;
    /// `None`: it is not whole yet, or the connection is closed.
    pub(crate) fn read_proxy_header(&mut self, key: Key, bytes: &[u8]) -> Option<usize> {
        let downstream = &mut self.downstreams[key];
        let trusted = &self.cfg.trusted_proxies;
        let believed = trusted.is_empty() || is_trusted(trusted, downstream.peer.as_bytes());
        match parse_proxy_header(bytes) {
            Ok(None) => None,
            Ok(Some((said, len_bytes))) if believed => {
                downstream.awaits_proxy_header = false;
                if let Proxied::From(address) = said {
                    downstream.peer = Peer::new(&address.to_string());
                }
                self.admit_address(key);
                self.downstreams.contains(key).then_some(len_bytes)
            }
            Ok(Some(_)) | Err(NoProxyHeader) => {
                self.turn_away(key, cell::REFUSED_PROXY_HEADER);
                None
            }
        }
    }

    /// Finds out whom a request comes from.
    pub(crate) fn identify_client(&mut self, key: Key, src: &[u8], head: &RequestHead) {
        let downstream = &mut self.downstreams[key];
        downstream.client = downstream.peer;
        let trusted = &self.cfg.trusted_proxies;
        downstream.exchange.peer_trusted =
            !trusted.is_empty() && is_trusted(trusted, downstream.peer.as_bytes());
        if !downstream.exchange.peer_trusted {
            return;
        }
        for address in chain(src, head) {
            downstream.client = Peer::new(&address.to_string());
            if !is_trusted(trusted, downstream.client.as_bytes()) {
                break;
            }
        }
    }
}

fn is_trusted(trusted: &[Network], address: &[u8]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The addresses of `X-Forwarded-For`, the last one first, as far as they are addresses.
pub(crate) fn chain<'a>(src: &'a [u8], head: &'a RequestHead) -> impl Iterator<Item = IpAddr> + 'a {
    head.fields
        .iter()
        .rev()
        .filter(|field| field.id == FieldId::XForwardedFor && !field.hop_by_hop)
        .flat_map(|field| field.value.of(src).rsplit(|&byte| byte == b','))
        .take(CHAIN_MAX_COUNT)
        .map_while(|entry| read_entry(entry.trim_ascii()))
}

/// An address, with a port or without.
fn read_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    text.parse::<IpAddr>()
        .or_else(|_| {
            text.parse::<core::net::SocketAddr>()
                .map(|place| place.ip())
        })
        .ok()
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            inner.parse().ok().map(IpAddr::V6)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_addresses_with_or_without_a_port() {
        for (entry, address) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9:1234", Some("203.0.113.9")),
            ("2001:db8::9", Some("2001:db8::9")),
            ("[2001:db8::9]", Some("2001:db8::9")),
            ("[2001:db8::9]:1234", Some("2001:db8::9")),
            ("unknown", None),
            ("203.0.113.9:", None),
            ("203.0.113.09", None),
            ("", None),
        ] {
            let expected = address.map(|text| text.parse().expect("address"));
            assert_eq!(read_entry(entry.as_bytes()), expected, "{entry}");
        }
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        let mut addresses = Addresses::default();
        let first = addresses.take(&Peer::new("2001:db8::1"), 1);
        assert!(first.is_some());
        assert_eq!(addresses.take(&Peer::new("2001:db8::ffff:2"), 1), None);
        assert!(addresses.take(&Peer::new("2001:db8:0:1::1"), 1).is_some());
        addresses.give_back(first.expect("taken"));
        assert!(addresses.take(&Peer::new("2001:db8::3"), 1).is_some());
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_address() {
        let mut addresses = Addresses::default();
        assert!(addresses.take(&Peer::new("203.0.113.9"), 1).is_some());
        assert_eq!(addresses.take(&Peer::new("::ffff:203.0.113.9"), 1), None);
    }
}
