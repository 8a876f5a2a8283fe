//! Keys that tokens are verified with.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::{KeyConfig, SignatureAlgorithm};

/// A key and the one algorithm that it is for.
pub(crate) struct VerifyingKey {
    /// Its name, if it has one; a token that names another key is not held against it.
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

/// Why a key is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It cannot be read.
    Malformed,
    /// It is for something else: another algorithm, encryption, a curve that is not P-256.
    OtherPurpose,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is no public key of RSA or P-256",
            Self::OtherPurpose => "is no key for HS256, RS256 or ES256",
        })
    }
}

impl std::error::Error for KeyError {}

impl From<SignatureAlgorithm> for Algorithm {
    fn from(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::Hs256 => Self::HS256,
            SignatureAlgorithm::Rs256 => Self::RS256,
            SignatureAlgorithm::Es256 => Self::ES256,
        }
    }
}

impl VerifyingKey {
    pub(crate) fn new(cfg: &KeyConfig) -> Result<Self, KeyError> {
        match cfg {
            KeyConfig::Secret(secret) => Ok(Self {
                id: None,
                algorithm: Algorithm::HS256,
                key: DecodingKey::from_secret(secret.as_bytes()),
            }),
            KeyConfig::Pem(pem) => {
                let (algorithm, key) = DecodingKey::from_ec_pem(pem.as_bytes())
                    .map(|key| (Algorithm::ES256, key))
                    .or_else(|_| {
                        DecodingKey::from_rsa_pem(pem.as_bytes()).map(|key| (Algorithm::RS256, key))
                    })
                    .map_err(|_| KeyError::Malformed)?;
                Ok(Self {
                    id: None,
                    algorithm,
                    key,
                })
            }
            KeyConfig::Jwk(value) => {
                let jwk: Jwk =
                    serde_json::from_value(value.clone()).map_err(|_| KeyError::Malformed)?;
                Self::of_jwk(&jwk)
            }
        }
    }

    fn of_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(parameters)
                if parameters.curve == EllipticCurve::P256 =>
            {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
            _ => return Err(KeyError::OtherPurpose),
        };
        let named = match jwk.common.key_algorithm {
            None => None,
            Some(KeyAlgorithm::HS256) => Some(Algorithm::HS256),
            Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
            Some(_) => return Err(KeyError::OtherPurpose),
        };
        let signs = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        if !signs || named.is_some_and(|named| named != algorithm) {
            return Err(KeyError::OtherPurpose);
        }
        Ok(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Malformed)?,
        })
    }
}
