//! The plugin's configuration, and what the control plane answers.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::Origin;

/// Most bytes of an answer that are read: policies of any real size fit many times over.
pub const ANSWER_MAX_BYTES: usize = 4 << 20;

/// Shortest time between two questions to the control plane, in seconds.
const INTERVAL_MIN_SECONDS: f64 = 0.1;
const INTERVAL_MAX_SECONDS: f64 = 3_600.0;

/// What a WasmPlugin's `pluginConfig`, or Envoy's `configuration`, holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginConfig {
    /// Which service this is; absent: told by the labels of the node.
    pub service: Option<String>,
    /// Which namespace it is in; absent: the node's.
    pub namespace: Option<String>,
    /// Policies that are in force until the control plane has answered.
    pub policies: Vec<Value>,
    /// When they were applied; absent: when the plugin started.
    pub applied_at: Option<Moment>,
    /// Where to ask for policies.
    pub control_plane: Option<ControlPlane>,
}

/// Where policies come from while the plugin runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlane {
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// The Host that is asked.
    #[serde(default = "default_authority")]
    pub authority: String,
    /// The path that is asked.
    #[serde(default = "default_path")]
    pub path: String,
    /// Sent as a bearer token, unless empty.
    #[serde(default)]
    pub token: Option<String>,
    /// From one question to the next.
    #[serde(default = "default_interval")]
    pub interval_seconds: f64,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: f64,
}

fn default_authority() -> String {
    "gatewayx".to_owned()
}

fn default_path() -> String {
    "/v1/policies".to_owned()
}

fn default_interval() -> f64 {
    5.0
}

fn default_timeout() -> f64 {
    2.0
}

/// A moment: seconds since 1970, or RFC 3339 text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// Since 1970.
    Seconds(f64),
    /// Such as `2026-01-31T12:00:00Z`.
    Text(String),
}

impl Moment {
    /// In milliseconds since 1970.
    pub fn unix_ms(&self) -> Result<u64, String> {
        match self {
            Self::Seconds(seconds) if (0.0..1e11).contains(seconds) => Ok((seconds * 1e3) as u64),
            Self::Seconds(seconds) => Err(format!("{seconds} is no time since 1970")),
            Self::Text(text) => {
                rfc3339_unix_ms(text).ok_or_else(|| format!("{text:?} is not a time of RFC 3339"))
            }
        }
    }
}

impl PluginConfig {
    /// Reads a configuration: an object of this form, a list of policies, or nothing.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        if text.trim_ascii().starts_with(b"[") {
            let policies = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            return Ok(Self {
                policies,
                ..Self::default()
            });
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let config: Self =
            serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        if let Some(control_plane) = &config.control_plane {
            control_plane.check()?;
        }
        Ok(config)
    }
}

impl ControlPlane {
    fn check(&self) -> Result<(), String> {
        let allowed = INTERVAL_MIN_SECONDS..=INTERVAL_MAX_SECONDS;
        for (name, seconds) in [
            ("interval_seconds", self.interval_seconds),
            ("timeout_seconds", self.timeout_seconds),
        ] {
            if !allowed.contains(&seconds) {
                return Err(format!(
                    "control_plane.{name}: must be {INTERVAL_MIN_SECONDS} to {INTERVAL_MAX_SECONDS}"
                ));
            }
        }
        if self.cluster.is_empty() {
            return Err("control_plane.cluster: must not be empty".to_owned());
        }
        Ok(())
    }
}

/// A policy as the control plane lists it; other keys are its own.
#[derive(Deserialize)]
struct Listed {
    metadata: Value,
    spec: Value,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    enabled: bool,
    applied_at: Option<Moment>,
}

/// Either a bare list or one under `policies`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listing {
    Bare(Vec<Listed>),
    Named { policies: Vec<Listed> },
}

/// The policies of an answer of the control plane that are switched on.
pub fn parse_answer(text: &[u8]) -> Result<Vec<Origin>, String> {
    let (Listing::Bare(listed) | Listing::Named { policies: listed }) =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    listed
        .into_iter()
        .filter(|policy| policy.status.as_ref().is_none_or(|status| status.enabled))
        .map(|policy| {
            let applied_at = policy.status.and_then(|status| status.applied_at);
            Ok(Origin {
                document: serde_json::json!({"metadata": policy.metadata, "spec": policy.spec}),
                applied_unix_ms: applied_at.map(|moment| moment.unix_ms()).transpose()?,
            })
        })
        .collect()
}

/// RFC 3339 section 5.6, without leap seconds.
fn rfc3339_unix_ms(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let (year, month, day) = three(date, '-')?;
    let at = time.rfind(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let offset_minutes = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign, zone) => {
            let (hours, minutes) = zone.split_once(':')?;
            let minutes = number(hours)? * 60 + number(minutes)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let (hour, minute, second) = three(whole, ':')?;
    let digits: String = fraction.chars().chain("00".chars()).take(3).collect();
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1970;
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (days_since_1970(year, month, day) * 24 + hour) * 3_600
        + (minute - offset_minutes) * 60
        + second;
    u64::try_from(seconds * 1_000 + number(&digits)?).ok()
}

fn number(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

fn three(text: &str, separator: char) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(separator).map(number);
    let numbers = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(numbers)
}

/// Years begin in March, so that the day that leap years add is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_configuration() {
        assert_eq!(PluginConfig::parse(b" "), Ok(PluginConfig::default()));
    }

    #[test]
    fn a_list_is_policies() {
        let config = PluginConfig::parse(br#"[{"metadata": {}}]"#).expect("a list");
        assert_eq!(config.policies.len(), 1);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let told = |text: &str| PluginConfig::parse(text.as_bytes()).expect_err("wrong");
        assert!(told(r#"{"polices": []}"#).contains("polices"));
        assert!(told(r#"{"control_plane": {"cluster": 5}}"#).starts_with("control_plane.cluster"));
        let short = r#"{"control_plane": {"cluster": "c", "interval_seconds": 0}}"#;
        assert!(told(short).starts_with("control_plane.interval_seconds"));
        assert!(!told(r#"{} {}"#).is_empty());
    }

    #[test]
    fn moments_are_read() {
        let ms = |text: &str| Moment::Text(text.to_owned()).unix_ms().ok();
        assert_eq!(ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ms("2000-03-01T00:00:00.5Z"), Some(951_868_800_500));
        assert_eq!(
            ms("2026-11-27T12:00:00.123456+00:00"),
            Some(1_795_780_800_123)
        );
        assert_eq!(ms("2026-11-27T13:30:00+01:30"), Some(1_795_780_800_000));
        assert_eq!(ms("2026-13-27T13:30:00Z"), None);
        assert_eq!(ms("yesterday"), None);
        assert_eq!(Moment::Seconds(1.5).unix_ms(), Ok(1_500));
        assert!(Moment::Seconds(-1.0).unix_ms().is_err());
    }

    #[test]
    fn an_answer_lists_what_is_switched_on() {
        let text = br#"{"policies": [
            {"metadata": {"name": "a"}, "spec": {},
             "status": {"enabled": true, "applied_at": "1970-01-01T00:00:05Z", "matched": 3}},
            {"metadata": {"name": "b"}, "spec": {}, "status": {"enabled": false}},
            {"metadata": {"name": "c"}, "spec": {}}
        ]}"#;
        let policies = parse_answer(text).expect("an answer");
        let applied: Vec<_> = policies
            .iter()
            .map(|policy| policy.applied_unix_ms)
            .collect();
        assert_eq!(applied, [Some(5_000), None]);
        assert!(parse_answer(b"<html>").is_err());
    }
}
