//! Header fields, and the ones that the gateway knows by name.

use crate::Span;

/// One field line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it was sent.
    pub name: Span,
    /// The value without the whitespace around it.
    pub value: Span,
    /// Which known field it is.
    pub id: FieldId,
    /// Not forwarded: hop-by-hop by definition, nominated by Connection, `Proxy`, or an underscore
    /// alias (`X_Forwarded_For`) of a known field.
    pub hop_by_hop: bool,
}

macro_rules! known_fields {
    ($($id:ident $name:literal,)*) => {
        /// A field that the gateway knows.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FieldId {
            /// Any other field.
            Other,
            $(#[doc = concat!("`", $name, "`")] $id,)*
        }

        impl FieldId {
            /// All known fields.
            pub const ALL: &[FieldId] = &[$(Self::$id,)*];

            /// The name in its usual case; empty for [`Self::Other`].
            #[inline]
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

known_fields! {
    AcceptEncoding "Accept-Encoding",
    AltSvc "Alt-Svc",
    Authorization "Authorization",
    Connection "Connection",
    ContentEncoding "Content-Encoding",
    ContentLength "Content-Length",
    ContentType "Content-Type",
    Cookie "Cookie",
    Date "Date",
    Expect "Expect",
    Forwarded "Forwarded",
    Host "Host",
    KeepAlive "Keep-Alive",
    Proxy "Proxy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    ProxyAuthorization "Proxy-Authorization",
    ProxyConnection "Proxy-Connection",
    RetryAfter "Retry-After",
    Server "Server",
    Te "TE",
    Traceparent "Traceparent",
    Tracestate "Tracestate",
    Trailer "Trailer",
    TransferEncoding "Transfer-Encoding",
    Upgrade "Upgrade",
    Via "Via",
    XForwardedFor "X-Forwarded-For",
    XForwardedHost "X-Forwarded-Host",
    XForwardedPort "X-Forwarded-Port",
    XForwardedProto "X-Forwarded-Proto",
    XRealIp "X-Real-IP",
    XRequestId "X-Request-Id",
}

impl FieldId {
    /// The field of that name, in any case. Length and one letter leave at most one candidate to
    /// compare with.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self::Other;
        };
        let candidate = match (name.len(), first | 0x20) {
            (2, b't') => Self::Te,
            (3, b'v') => Self::Via,
            (4, b'd') => Self::Date,
            (4, b'h') => Self::Host,
            (5, b'p') => Self::Proxy,
            (6, b'c') => Self::Cookie,
            (6, b'e') => Self::Expect,
            (6, b's') => Self::Server,
            (7, b'a') => Self::AltSvc,
            (7, b't') => Self::Trailer,
            (7, b'u') => Self::Upgrade,
            (9, b'f') => Self::Forwarded,
            (9, b'x') => Self::XRealIp,
            (10, b'c') => Self::Connection,
            (10, b'k') => Self::KeepAlive,
            (10, b't') => Self::Tracestate,
            (11, b'r') => Self::RetryAfter,
            (11, b't') => Self::Traceparent,
            (12, b'c') => Self::ContentType,
            (12, b'x') => Self::XRequestId,
            (13, b'a') => Self::Authorization,
            (14, b'c') => Self::ContentLength,
            (15, b'a') => Self::AcceptEncoding,
            (15, b'x') => Self::XForwardedFor,
            (16, b'c') => Self::ContentEncoding,
            (16, b'p') => Self::ProxyConnection,
            (16, b'x') if name[12] | 0x20 == b'h' => Self::XForwardedHost,
            (16, b'x') => Self::XForwardedPort,
            (17, b't') => Self::TransferEncoding,
            (17, b'x') => Self::XForwardedProto,
            (18, b'p') => Self::ProxyAuthenticate,
            (19, b'p') => Self::ProxyAuthorization,
            (25, b'p') => Self::ProxyAuthenticationInfo,
            _ => return Self::Other,
        };
        if is_same_name(name, candidate.name().as_bytes()) {
            candidate
        } else {
            Self::Other
        }
    }

    /// Whether an intermediary never forwards the field: RFC 9110 section 7.6.1.
    ///
    /// Stricter: `Proxy` is not a registered field, but becomes `HTTP_PROXY` in the environment of
    /// CGI programs ("httpoxy"). Credentials and challenges for a proxy are addressed to this
    /// gateway.
    #[inline]
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        FieldSet::HOP_BY_HOP.contains(self)
    }

    /// Whether the name is that of a known field but for `_` in place of `-`.
    ///
    /// Upstreams that put fields into environment variables (CGI, WSGI) cannot tell the two apart,
    /// so such a name would forge the field that the gateway sets or strips.
    #[cold]
    pub(crate) fn is_alias(name: &[u8]) -> bool {
        const LONGEST: usize = FieldId::ProxyAuthenticationInfo.name().len();
        let mut plain = [0; LONGEST];
        let Some(plain) = plain.get_mut(..name.len()) else {
            return false;
        };
        for (to, &from) in plain.iter_mut().zip(name) {
            *to = if from == b'_' { b'-' } else { from };
        }
        name.contains(&b'_') && Self::of(plain) != Self::Other
    }
}

/// Whether `name` is `known`, which has the same length and is made of letters and hyphens, in any
/// case.
///
/// Eight bytes at a time, the last eight again where the length is no multiple of eight.
#[inline]
fn is_same_name(name: &[u8], known: &[u8]) -> bool {
    debug_assert_eq!(name.len(), known.len());
    if let (Some(name_tail), Some(known_tail)) = (name.last_chunk(), known.last_chunk()) {
        let blocks = name.as_chunks().0.iter().zip(known.as_chunks().0);
        differs(name_tail, known_tail)
            | blocks.fold(0, |all, (name, known)| all | differs(name, known))
            == 0
    } else {
        name.eq_ignore_ascii_case(known)
    }
}

/// Not 0 when the names differ by more than case: in a bit other than 0x20, or in a byte of `known`
/// that is no letter. Letters have the bit 0x40, the hyphen has not.
#[inline]
fn differs(name: &[u8; 8], known: &[u8; 8]) -> u64 {
    const CASE: u64 = u64::from_ne_bytes([0x20; 8]);
    let known = u64::from_ne_bytes(*known);
    (u64::from_ne_bytes(*name) ^ known) & !(known >> 1 & CASE)
}

/// A set of known fields: one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FieldSet(u64);

impl FieldSet {
    const HOP_BY_HOP: Self = Self::new(&[
        FieldId::Connection,
        FieldId::KeepAlive,
        FieldId::Proxy,
        FieldId::ProxyAuthenticate,
        FieldId::ProxyAuthenticationInfo,
        FieldId::ProxyAuthorization,
        FieldId::ProxyConnection,
        FieldId::Te,
        FieldId::TransferEncoding,
        FieldId::Upgrade,
    ]);

    const fn new(ids: &[FieldId]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < ids.len() {
            bits |= 1 << ids[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    #[inline]
    pub(crate) const fn contains(self, id: FieldId) -> bool {
        self.0 >> id as u8 & 1 != 0
    }

    /// Adds the field; tells whether it was there already.
    #[inline]
    pub(crate) fn insert(&mut self, id: FieldId) -> bool {
        let was_there = self.contains(id);
        self.0 |= 1 << id as u8;
        was_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_field_is_found_in_any_case() {
        for &id in FieldId::ALL {
            let name = id.name();
            for written in [name.to_string(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(FieldId::of(written.as_bytes()), id, "{written}");
            }
        }
    }

    #[test]
    fn nearly_a_known_name_is_another_field() {
        for &id in FieldId::ALL {
            let name = id.name().as_bytes();
            for place in 0..name.len() {
                let mut changed = name.to_vec();
                changed[place] = b'!';
                assert_eq!(FieldId::of(&changed), FieldId::Other);
                // The case bit makes no hyphen.
                changed[place] = name[place] ^ 0x20;
                let same = name[place].is_ascii_alphabetic();
                assert_eq!(FieldId::of(&changed) == id, same);
            }
            assert_eq!(FieldId::of(&name[1..]), FieldId::Other);
            assert_eq!(FieldId::of(&[name, b"s"].concat()), FieldId::Other);
        }
        assert_eq!(FieldId::of(b""), FieldId::Other);
    }

    #[test]
    fn aliases_are_known_names_with_an_underscore() {
        for &id in FieldId::ALL {
            assert!(!FieldId::is_alias(id.name().as_bytes()));
            let alias = id.name().replace('-', "_");
            assert_eq!(
                FieldId::is_alias(alias.as_bytes()),
                id.name().contains('-'),
                "{alias}"
            );
        }
        assert!(FieldId::is_alias(b"x-forwarded_FOR"));
        assert!(!FieldId::is_alias(b"x_custom"));
        assert!(!FieldId::is_alias(&[b'_'; 70]));
    }
}
