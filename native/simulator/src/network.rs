//! The invented network: bytes in flight, cut and delayed at will, but never reordered within a connection.

use std::collections::VecDeque;

use crate::gateway::READ_MAX_BYTES;
use crate::plan::Temper;
use crate::rng::Rng;

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// The sender has shut down.
    Fin,
    /// The sender has dropped the connection.
    Reset,
}

/// How the network of one connection behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest way of a parcel.
    delay_max_ns: u64,
    /// Largest parcel.
    piece_max_bytes: u64,
    /// Bytes that may be under way to the peer.
    pub window_bytes: usize,
    /// Bytes that may be under way from the peer.
    pub peer_window_bytes: usize,
    /// Most bytes that the gateway reads at once.
    pub read_max_bytes: usize,
    /// Most bytes that the peer reads at once, and how long it waits in between.
    pub peer_read: (usize, u64),
    /// A reset overtakes what is under way before it.
    pub resets_overtake: bool,
}

impl Weather {
    /// No delays, no limits.
    pub fn perfect() -> Self {
        Self {
            delay_max_ns: 1,
            piece_max_bytes: 1 << 20,
            window_bytes: 1 << 20,
            peer_window_bytes: 1 << 20,
            read_max_bytes: READ_MAX_BYTES,
            peer_read: (1 << 20, 0),
            resets_overtake: false,
        }
    }

    /// Draws one. Nothing is cut finer than `grain_bytes`, so that large bodies do not take for ever.
    pub fn draw(rng: &mut Rng, temper: Temper, grain_bytes: u64) -> Self {
        let fine = rng.chance(45);
        let slow_peer = rng.chance(15);
        let slowest_ns = match temper {
            Temper::Calm => 3_000_000,
            Temper::Rough => 100_000_000,
        };
        let mut limit = |choices: &[u64], best: u64| {
            if fine {
                best
            } else {
                rng.pick(choices).max(grain_bytes)
            }
        };
        let largest = 1 << 20;
        Self {
            delay_max_ns: limit(&[5_000_000], 100_000),
            piece_max_bytes: limit(&[1, 7, 100, 1_500], 65_536),
            window_bytes: limit(&[50, 1_000, 8_000, 200_000], largest) as usize,
            peer_window_bytes: limit(&[50, 1_000, 8_000, 200_000], largest) as usize,
            read_max_bytes: limit(&[40, 1_460, READ_MAX_BYTES as u64], READ_MAX_BYTES as u64)
                as usize,
            peer_read: if slow_peer {
                let most_bytes = rng.between(200, 3_000).max(grain_bytes);
                (most_bytes as usize, rng.below(slowest_ns))
            } else {
                (largest as usize, 0)
            },
            resets_overtake: rng.chance(50),
        }
    }
}

/// One direction of a connection: parcels by the time of their arrival.
#[derive(Debug, Default)]
pub struct Pipe {
    parcels: VecDeque<(u64, Parcel)>,
    last_at_ns: u64,
    /// Nothing follows.
    pub is_closed: bool,
}

/// Parcels that a piece of data becomes at most; the smallest pieces are for the beginning of it.
const PARCELS_MAX: u64 = 40;

impl Pipe {
    /// Sends bytes: in pieces, each on its own way.
    pub fn send(&mut self, now_ns: u64, mut bytes: &[u8], weather: &Weather, rng: &mut Rng) {
        let piece_max_bytes = weather
            .piece_max_bytes
            .max(bytes.len() as u64 / PARCELS_MAX);
        while !bytes.is_empty() {
            let len = (rng.between(1, piece_max_bytes.max(1)) as usize).min(bytes.len());
            let (piece, rest) = bytes.split_at(len);
            self.push(now_ns, Parcel::Bytes(piece.to_vec()), weather, rng);
            bytes = rest;
        }
    }

    /// Sends the last word.
    pub fn end(&mut self, now_ns: u64, parcel: Parcel, weather: &Weather, rng: &mut Rng) {
        if self.is_closed && parcel == Parcel::Fin {
            return;
        }
        self.is_closed = true;
        if parcel == Parcel::Reset && weather.resets_overtake {
            self.parcels.clear();
        }
        self.push(now_ns, parcel, weather, rng);
    }

    fn push(&mut self, now_ns: u64, parcel: Parcel, weather: &Weather, rng: &mut Rng) {
        let at_ns = (now_ns + rng.below(weather.delay_max_ns)).max(self.last_at_ns);
        self.last_at_ns = at_ns;
        self.parcels.push_back((at_ns, parcel));
    }

    /// When the next parcel arrives.
    pub fn next_ns(&self) -> Option<u64> {
        self.parcels.front().map(|&(at_ns, _)| at_ns)
    }

    /// What has arrived: bytes, up to so many, or else a last word.
    pub fn take(&mut self, now_ns: u64, max_bytes: usize) -> Option<Parcel> {
        let mut taken = Vec::new();
        while let Some((at_ns, parcel)) = self.parcels.front_mut()
            && *at_ns <= now_ns
        {
            let Parcel::Bytes(bytes) = parcel else {
                if taken.is_empty() {
                    return self.parcels.pop_front().map(|(_, parcel)| parcel);
                }
                break;
            };
            let room = max_bytes - taken.len();
            if bytes.len() > room {
                taken.extend(bytes.drain(..room));
                break;
            }
            taken.append(bytes);
            self.parcels.pop_front();
        }
        (!taken.is_empty()).then_some(Parcel::Bytes(taken))
    }

    /// Whether bytes have arrived that nobody has read.
    pub fn has_unread(&self, now_ns: u64) -> bool {
        matches!(self.parcels.front(), Some((at_ns, Parcel::Bytes(_))) if *at_ns <= now_ns)
    }

    /// Whether a reset has arrived and waits.
    pub fn has_reset(&self, now_ns: u64) -> bool {
        self.parcels
            .iter()
            .any(|(at_ns, parcel)| *at_ns <= now_ns && *parcel == Parcel::Reset)
    }

    /// Everything under way is lost.
    pub fn clear(&mut self) {
        self.parcels.clear();
    }
}
