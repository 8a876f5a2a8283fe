//! Why an exchange did not end well: one closed list of reasons and the tables that read it.
//!
//! A reason is a fact about one side, never about this program. Each has exactly one stable name, which is
//! what users see in `X-Gateway-Reason`, in the log and as the `type` of `gateway_errors_total`; the status
//! it is answered with; and whether the same request may be sent again.

use gatewayx_http::ParseError;

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller: its bytes or its behaviour.
    Downstream,
    /// The target: its bytes or its behaviour.
    Upstream,
    /// A limit of this gateway's configuration.
    Limit,
}

/// What a failed attempt tells of whether the request can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Repeating it cannot help, or is nobody's wish.
    Never,
    /// The upstream has seen nothing of it: any request may be repeated.
    Unsent,
    /// The connection ended without an answer: idempotent requests may be repeated, and without being asked
    /// to when the connection had served before, because its late close then explains the failure.
    Unanswered,
    /// The upstream was too slow: idempotent requests may be repeated.
    TimedOut,
}

/// A failure of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The head or the body breaks the protocol.
    BadRequest(ParseError),
    /// The caller closed before its request was whole.
    RequestIncomplete,
    /// The request body passes the proxy's limit.
    BodyTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body stopped arriving.
    BodyTimeout,
    /// Nothing is configured for this host and path.
    NoRoute,
    /// A method or target form that a gateway does not serve.
    NotImplemented,
    /// An upgrade that the proxy does not allow.
    UpgradeNotAllowed,
    /// The access rule asks for a caller who is known, and this one is not.
    AuthRequired,
    /// The access rule does not let this caller in.
    AccessDenied,
    /// The caller is known, but not by a claim that the proxy's headers need.
    ClaimMissing,
    /// The caller, or the proxy's callers together, have sent as many requests as its rate limit allows.
    RateLimited,
    /// `max_concurrent` exchanges are running.
    LimitReached,
    /// As many requests wait as the queue has places.
    QueueFull,
    /// No permit came free within the queue's time.
    QueueTimeout,
    /// The circuit breaker is open.
    CircuitOpen,
    /// No connection within the dial deadline.
    DialTimeout,
    /// The connection was refused or the name is unknown.
    DialFailed,
    /// The TLS handshake did not end within its deadline.
    TlsTimeout,
    /// The TLS handshake failed, or the certificate is not good.
    TlsFailed,
    /// No response head within its deadline.
    HeaderTimeout,
    /// The response body stopped arriving.
    IdleTimeout,
    /// The exchange as a whole took too long.
    TotalTimeout,
    /// The upstream closed or reset the connection before a response head.
    UpstreamReset,
    /// The upstream closed or reset the connection within the response.
    UpstreamTruncated,
    /// The response breaks the protocol.
    BadResponse(ParseError),
    /// The upstream switched protocols without being asked, or sent informational heads without end.
    UnexpectedResponse,
    /// The caller went away.
    DownstreamClosed,
    /// The caller stopped reading.
    DownstreamStalled,
}

/// How many metric labels there are.
pub(crate) const REASON_COUNT: usize = 33;

/// The `type` label of an upstream's own 5xx.
pub(crate) const UPSTREAM_5XX: usize = REASON_COUNT - 1;

/// The `type` labels of `gateway_errors_total`, by [`Reason::index`].
pub const REASON_NAMES: [&str; REASON_COUNT] = [
    "bad_request",
    "head_too_large",
    "target_too_long",
    "version_not_supported",
    "expectation_failed",
    "request_incomplete",
    "body_too_large",
    "request_timeout",
    "no_route",
    "not_implemented",
    "upgrade_not_allowed",
    "limit_reached",
    "queue_full",
    "queue_timeout",
    "circuit_open",
    "dial_timeout",
    "dial_failed",
    "header_timeout",
    "idle_timeout",
    "total_timeout",
    "upstream_reset",
    "upstream_truncated",
    "bad_response",
    "unexpected_response",
    "client_closed",
    "client_stalled",
    "auth_required",
    "access_denied",
    "claim_missing",
    "rate_limited",
    "tls_timeout",
    "tls_failed",
    "5xx",
];

/// Status code of a caller that left early: in the log and in metrics, never sent.
pub(crate) const STATUS_CLIENT_CLOSED: u16 = 499;

impl Reason {
    /// Position in [`REASON_NAMES`].
    pub fn index(self) -> usize {
        match self {
            Self::BadRequest(error) => match error {
                ParseError::HeadTooLarge | ParseError::TooManyFields => 1,
                ParseError::TargetTooLong => 2,
                ParseError::UnsupportedVersion => 3,
                ParseError::UnknownExpectation => 4,
                _ => 0,
            },
            Self::RequestIncomplete => 5,
            Self::BodyTooLarge => 6,
            Self::HeadTimeout | Self::BodyTimeout => 7,
            Self::NoRoute => 8,
            Self::NotImplemented => 9,
            Self::UpgradeNotAllowed => 10,
            Self::LimitReached => 11,
            Self::QueueFull => 12,
            Self::QueueTimeout => 13,
            Self::CircuitOpen => 14,
            Self::DialTimeout => 15,
            Self::DialFailed => 16,
            Self::HeaderTimeout => 17,
            Self::IdleTimeout => 18,
            Self::TotalTimeout => 19,
            Self::UpstreamReset => 20,
            Self::UpstreamTruncated => 21,
            Self::BadResponse(_) => 22,
            Self::UnexpectedResponse => 23,
            Self::DownstreamClosed => 24,
            Self::DownstreamStalled => 25,
            Self::AuthRequired => 26,
            Self::AccessDenied => 27,
            Self::ClaimMissing => 28,
            Self::RateLimited => 29,
            Self::TlsTimeout => 30,
            Self::TlsFailed => 31,
        }
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        REASON_NAMES[self.index()]
    }

    /// The status that the caller gets, or would have got.
    pub fn status(self) -> u16 {
        match self.index() {
            0 | 5 => 400,
            1 => 431,
            2 => 414,
            3 => 505,
            4 => 417,
            6 => 413,
            7 => 408,
            8 => 404,
            9 | 10 => 501,
            11 | 12 | 29 => 429,
            26 => 401,
            27 | 28 => 403,
            13 | 14 => 503,
            15 | 17 | 18 | 19 | 30 => 504,
            24 | 25 => STATUS_CLIENT_CLOSED,
            _ => 502,
        }
    }

    /// Title for a person: the `error` member of the answer.
    pub fn title(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            401 => "Authentication Required",
            403 => "Access Denied",
            404 => "Proxy Not Found",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Upstream Unavailable",
        }
    }

    /// What happened and at which stage: the `details` member. Holds no value of the request.
    pub fn details(self) -> &'static str {
        match self {
            Self::BadRequest(error) | Self::BadResponse(error) => error.as_str(),
            Self::RequestIncomplete => "the connection ended before the request was complete",
            Self::BodyTooLarge => "the request body is larger than this proxy accepts",
            Self::HeadTimeout => "the request head was not complete in time",
            Self::BodyTimeout => "the request body stopped arriving",
            Self::NoRoute => "no proxy is configured for this host and path",
            Self::NotImplemented => "the gateway does not serve this method or target",
            Self::UpgradeNotAllowed => {
                "this proxy does not allow WebSocket; set `websocket: true` to allow it"
            }
            Self::AuthRequired => "this proxy wants an API token or a JSON Web Token that is valid",
            Self::AccessDenied => "the access rule of this proxy does not let this caller in",
            Self::ClaimMissing => "the caller's token lacks a claim that this proxy needs",
            Self::RateLimited => "the rate limit of this proxy is used up for now",
            Self::LimitReached => "the proxy is serving as many requests as max_concurrent allows",
            Self::QueueFull => "the proxy is busy and as many requests wait as its queue allows",
            Self::QueueTimeout => {
                "the proxy stayed busy for as long as its queue lets a request wait"
            }
            Self::CircuitOpen => "the upstream has failed repeatedly and is given time to recover",
            Self::DialTimeout => "dial: the upstream did not accept a connection in time",
            Self::DialFailed => "dial: the upstream refused the connection or cannot be found",
            Self::TlsTimeout => "TLS handshake: the upstream did not finish it in time",
            Self::TlsFailed => {
                "TLS handshake: it failed, or the upstream's certificate is not good"
            }
            Self::HeaderTimeout => "response header: the upstream did not answer in time",
            Self::IdleTimeout => "response body: the upstream stopped sending",
            Self::TotalTimeout => "the exchange took longer than its total timeout",
            Self::UpstreamReset => "response header: the upstream closed the connection",
            Self::UpstreamTruncated => "response body: the upstream closed the connection",
            Self::UnexpectedResponse => "response header: the upstream sent what was not asked for",
            Self::DownstreamClosed => "the caller closed the connection",
            Self::DownstreamStalled => "the caller stopped reading the response",
        }
    }

    /// Whether the request may be tried once more.
    pub fn retry(self) -> Retry {
        match self {
            Self::DialTimeout | Self::DialFailed | Self::TlsTimeout | Self::TlsFailed => {
                Retry::Unsent
            }
            Self::UpstreamReset => Retry::Unanswered,
            Self::HeaderTimeout => Retry::TimedOut,
            _ => Retry::Never,
        }
    }

    /// Which side the failure is charged to.
    pub fn blame(self) -> Blame {
        match self.index() {
            0..=5 | 7..=10 | 24..=28 => Blame::Downstream,
            6 | 11..=14 | 29 => Blame::Limit,
            _ => Blame::Upstream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names = REASON_NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASON_COUNT);
    }

    #[test]
    fn the_stable_names_of_the_contract_exist() {
        for name in [
            "limit_reached",
            "queue_full",
            "queue_timeout",
            "circuit_open",
            "dial_timeout",
            "header_timeout",
            "idle_timeout",
            "upstream_reset",
            "bad_request",
            "no_route",
        ] {
            assert!(REASON_NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_began_to_answer_is_never_retried() {
        assert_eq!(Reason::UpstreamReset.retry(), Retry::Unanswered);
        assert_eq!(Reason::UpstreamTruncated.retry(), Retry::Never);
        assert_eq!(Reason::DialFailed.retry(), Retry::Unsent);
        assert_eq!(Reason::IdleTimeout.retry(), Retry::Never);
    }

    #[test]
    fn blame_follows_the_side() {
        assert_eq!(Reason::DialTimeout.blame(), Blame::Upstream);
        assert_eq!(Reason::DownstreamClosed.blame(), Blame::Downstream);
        assert_eq!(Reason::LimitReached.blame(), Blame::Limit);
    }

    #[test]
    fn a_reason_stays_small() {
        assert!(size_of::<Reason>() <= 8);
    }
}
