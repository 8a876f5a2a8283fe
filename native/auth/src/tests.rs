use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::{AuthConfig, KeyConfig};
use crate::digest::{hmac_sha256, sha256};
use crate::{Authenticator, VERIFIED_MAX_COUNT, bearer};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of at least thirty-two bytes";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn authenticator(cfg: Value) -> Authenticator {
    let cfg: AuthConfig = serde_json::from_value(cfg).expect("a configuration");
    Authenticator::new(&cfg)
}

/// An issuer with whatever is given in place of the defaults.
fn issuer(over: Value) -> Value {
    let mut cfg = json!({"algorithms": ["HS256"], "keys": [{"secret": SECRET}]});
    let members = over.as_object().expect("an object").clone();
    cfg.as_object_mut().expect("an object").extend(members);
    json!({"issuers": [cfg]})
}

fn claims(over: Value) -> Value {
    let mut claims = json!({"sub": "u1", "exp": NOW + 60});
    let members = over.as_object().expect("an object").clone();
    claims.as_object_mut().expect("an object").extend(members);
    claims
}

fn signed(claims: &Value) -> Vec<u8> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key)
        .expect("signed")
        .into_bytes()
}

fn accepts(cfg: Value, token_claims: Value) -> bool {
    let token = signed(&claims(token_claims));
    authenticator(cfg).authenticate(&token, NOW).is_some()
}

fn rsa_key() -> EncodingKey {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair).expect("encoded");
    // The PKCS #1 key lies behind PKCS #8's header.
    EncodingKey::from_rsa_der(&der.as_ref()[26..])
}

fn ec_key() -> EncodingKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    EncodingKey::from_ec_der(pair.to_pkcs8v1().expect("encoded").as_ref())
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a key");
    jwk.common.key_id = Some(id.to_owned());
    json!({"jwk": jwk})
}

fn signed_with(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>) -> Vec<u8> {
    let mut header = Header::new(algorithm);
    header.kid = id.map(str::to_owned);
    encode(&header, &claims(json!({})), key)
        .expect("signed")
        .into_bytes()
}

#[test]
fn every_algorithm_verifies_what_its_key_signed_and_nothing_else() {
    let (rsa, ec) = (rsa_key(), ec_key());
    let cfg = issuer(json!({
        "algorithms": ["RS256", "ES256"],
        "keys": [jwk(&rsa, Algorithm::RS256, "r"), jwk(&ec, Algorithm::ES256, "e")],
    }));
    let mut authenticator = authenticator(cfg);
    let mut good = |token: &[u8]| authenticator.authenticate(token, NOW).is_some();
    assert!(good(&signed_with(&rsa, Algorithm::RS256, Some("r"))));
    assert!(good(&signed_with(&rsa, Algorithm::RS256, None)));
    assert!(good(&signed_with(&ec, Algorithm::ES256, Some("e"))));
    assert!(
        !good(&signed_with(&ec, Algorithm::ES256, Some("r"))),
        "another key's name"
    );
    assert!(
        !good(&signed_with(&rsa, Algorithm::RS512, Some("r"))),
        "another algorithm"
    );
    assert!(
        !good(&signed_with(&rsa_key(), Algorithm::RS256, Some("r"))),
        "another key"
    );
    let mut broken = signed_with(&ec, Algorithm::ES256, Some("e"));
    let at = broken.len() - 10;
    broken[at] ^= 1;
    assert!(!good(&broken), "another signature");
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let rsa = rsa_key();
    let public = jwk(&rsa, Algorithm::RS256, "r");
    let modulus = public["jwk"]["n"].as_str().expect("text").as_bytes();
    let forged = signed_with(
        &EncodingKey::from_secret(modulus),
        Algorithm::HS256,
        Some("r"),
    );
    let cfg = issuer(json!({"algorithms": ["HS256", "RS256"], "keys": [public]}));
    assert!(authenticator(cfg).authenticate(&forged, NOW).is_none());
}

#[test]
fn an_algorithm_that_is_not_asked_for_is_refused() {
    let ec = ec_key();
    let cfg = issuer(json!({"algorithms": ["RS256"], "keys": [jwk(&ec, Algorithm::ES256, "e")]}));
    let token = signed_with(&ec, Algorithm::ES256, Some("e"));
    assert!(authenticator(cfg).authenticate(&token, NOW).is_none());
}

#[test]
fn none_is_no_algorithm_and_crit_is_refused() {
    let mut authenticator = authenticator(issuer(json!({})));
    // {"alg":"none"} . {"sub":"u1","exp":9999999999} . nothing
    let none = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6OTk5OTk5OTk5OX0.";
    assert!(authenticator.authenticate(none, NOW).is_none());
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&header, &claims(json!({})), &key).expect("signed");
    assert!(authenticator.authenticate(token.as_bytes(), NOW).is_none());
}

#[test]
fn times_have_a_leeway_and_an_end() {
    let cfg = || issuer(json!({"leeway_seconds": 10}));
    assert!(accepts(cfg(), json!({"exp": NOW - 9})));
    assert!(!accepts(cfg(), json!({"exp": NOW - 10})));
    assert!(accepts(cfg(), json!({"nbf": NOW + 10})));
    assert!(!accepts(cfg(), json!({"nbf": NOW + 11})));
    assert!(accepts(cfg(), json!({"exp": NOW as f64 + 0.5})));
    for exp in [json!(null), json!("soon"), json!(-5)] {
        assert!(!accepts(cfg(), json!({"exp": exp})), "{exp}");
    }
    assert!(!accepts(cfg(), json!({"nbf": "soon"})));
}

#[test]
fn issuer_and_audience_are_held_against_the_configuration() {
    let cfg = || issuer(json!({"issuer": "https://id.example", "audience": ["api", "web"]}));
    let good = json!({"iss": "https://id.example", "aud": "api"});
    assert!(accepts(cfg(), good.clone()));
    assert!(accepts(
        cfg(),
        json!({"iss": "https://id.example", "aud": ["x", "web"]})
    ));
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!([])),
        ("aud", json!(null)),
    ] {
        let mut bad = good.clone();
        bad[name] = value.clone();
        assert!(!accepts(cfg(), bad), "{name}: {value}");
    }
    assert!(!accepts(cfg(), json!({"iss": "https://id.example"})));
}

#[test]
fn a_token_without_an_id_is_nobodys() {
    assert!(!accepts(issuer(json!({"id_claim": "uid"})), json!({})));
    assert!(!accepts(issuer(json!({})), json!({"sub": ""})));
    let mut by_number = authenticator(issuer(json!({"id_claim": "uid"})));
    let token = signed(&claims(json!({"uid": 17, "id": "forged"})));
    let caller = by_number.authenticate(&token, NOW).expect("good");
    assert_eq!(caller.id(), b"17");
    assert_eq!(caller.claim("id").collect::<Vec<_>>(), [b"17"]);
}

#[test]
fn claims_are_found_by_name() {
    let token = signed(&claims(json!({
        "org": {"unit": "ops", "deep": {"er": true}}, "roles": ["a", 2, null, {"x": 1}], "a.b": "no", "nil": null,
    })));
    let caller = authenticator(issuer(json!({})))
        .authenticate(&token, NOW)
        .expect("good");
    let values = |name: &str| -> Vec<String> {
        let values = caller.claim(name);
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    assert_eq!(values("org.unit"), ["ops"]);
    assert_eq!(values("org.deep.er"), ["true"]);
    assert_eq!(values("roles"), ["a", "2"]);
    for missing in ["a.b", "nil", "org", "nothing"] {
        assert!(values(missing).is_empty(), "{missing}");
    }
    assert!(!caller.is_superuser());
}

#[test]
fn more_claims_than_can_be_kept_are_no_credential() {
    let many: Value = (0..300)
        .map(|index| (format!("c{index}"), json!(1)))
        .collect();
    assert!(!accepts(issuer(json!({})), many));
}

#[test]
fn what_was_verified_is_remembered_until_it_ends() {
    let mut authenticator = authenticator(issuer(json!({})));
    let token = signed(&claims(json!({})));
    assert!(authenticator.authenticate(&token, NOW).is_some());
    assert_eq!(authenticator.verified_count(), 1);
    assert!(authenticator.authenticate(&token, NOW + 59).is_some());
    assert!(authenticator.authenticate(&token, NOW + 60).is_none());
    assert_eq!(authenticator.verified_count(), 1);
    assert!(authenticator.authenticate(b"a.b.c", NOW).is_none());
    assert_eq!(authenticator.verified_count(), 1);
}

#[test]
fn no_more_is_remembered_than_the_bound() {
    use crate::caller::Caller;
    use crate::verified::VerifiedTokens;
    let caller = std::rc::Rc::new(Caller::new("u", &serde_json::Map::new(), false).expect("few"));
    let mut verified = VerifiedTokens::default();
    let kept = sha256(b"kept");
    verified.insert(kept, caller.clone(), u64::MAX);
    for index in 0..3 * VERIFIED_MAX_COUNT {
        verified.insert(sha256(&index.to_le_bytes()), caller.clone(), u64::MAX);
        assert!(verified.len() <= VERIFIED_MAX_COUNT);
        assert!(verified.find(&kept, NOW).is_some(), "what is used stays");
    }
}

#[test]
fn tokens_are_known_by_their_digests() {
    let key = [7; 32];
    let hmac_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let mut authenticator = authenticator(json!({
        "token_key": hex(&key),
        "superuser_sha256": hex(&sha256(b"root-token")),
        "tokens": [
            {"id": "plain", "digest": {"sha256": hex(&sha256(b"one"))}, "claims": {"role": "dev"}},
            {"id": "keyed", "digest": {"hmac_sha256": hex(&hmac_sha256(&hmac_key, b"two"))},
             "expires_unix_s": NOW + 5},
            {"id": "admin", "digest": {"sha256": hex(&sha256(b"three"))}, "superuser": true},
        ],
    }));
    let mut find = |token: &[u8], now| authenticator.authenticate(token, now);
    let one = find(b"one", NOW).expect("known");
    assert_eq!((one.id(), one.is_superuser()), (&b"plain"[..], false));
    assert_eq!(one.claim("role").collect::<Vec<_>>(), [b"dev"]);
    assert_eq!(find(b"two", NOW + 4).expect("known").id(), b"keyed");
    assert!(find(b"two", NOW + 5).is_none());
    assert!(find(b"three", NOW).expect("known").is_superuser());
    assert!(find(b"root-token", NOW).expect("known").is_superuser());
    assert!(find(b"four", NOW).is_none());
    assert!(find(b"", NOW).is_none());
    assert!(find(&[b'x'; crate::CREDENTIAL_MAX_BYTES + 1], NOW).is_none());
}

#[test]
fn without_configuration_nobody_is_known() {
    let mut nobody = authenticator(json!({}));
    assert!(nobody.authenticate(b"", NOW).is_none());
    assert!(
        nobody
            .authenticate(&signed(&claims(json!({}))), NOW)
            .is_none()
    );
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let check = |key: Value| {
        let key: KeyConfig = serde_json::from_value(key).expect("a key's form");
        Authenticator::check_key(&key).map_err(|error| error.to_string())
    };
    let (rsa, ec) = (rsa_key(), ec_key());
    assert!(check(jwk(&rsa, Algorithm::RS256, "r")).is_ok());
    assert!(check(jwk(&ec, Algorithm::ES256, "e")).is_ok());
    assert!(check(json!({"pem": "no key"})).is_err());
    assert!(check(json!({"jwk": {"kty": "RSA"}})).is_err());
    let mut encrypts = jwk(&rsa, Algorithm::RS256, "r");
    encrypts["jwk"]["use"] = json!("enc");
    assert!(check(encrypts).is_err());
    let mut other = jwk(&rsa, Algorithm::RS256, "r");
    other["jwk"]["alg"] = json!("PS256");
    assert!(check(other).is_err());
}

#[test]
fn bearer_credentials() {
    assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
    assert_eq!(bearer(b"bEARER  abc "), Some(&b"abc"[..]));
    for field in [
        &b"Basic abc"[..],
        b"Bearer",
        b"Bearerabc",
        b"Bearer a b",
        b"",
    ] {
        assert_eq!(bearer(field), None);
    }
}

proptest! {
    #[test]
    fn a_changed_token_is_never_good(at in 0usize..150, bit in 0u8..8) {
        let good = signed(&claims(json!({"role": "dev"})));
        let mut token = good.clone();
        let at = at % token.len();
        token[at] ^= 1 << bit;
        // The last digit of base64 has bits that mean nothing, which a strict reader refuses as well.
        let caller = authenticator(issuer(json!({}))).authenticate(&token, NOW);
        prop_assert!(caller.is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(token in prop::collection::vec(any::<u8>(), 0..200)) {
        authenticator(issuer(json!({}))).authenticate(&token, NOW);
    }
}
