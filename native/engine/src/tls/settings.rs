//! What a listener shows callers, and what a target has to show: from PEM text to rustls.
//!
//! Building happens when a configuration is read, so that text that is no certificate is refused whole, and never
//! once a connection. Private keys do not appear in `Debug`.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Deserialize;

use super::tickets::Tickets;
use super::wall::Told;

/// The one protocol that is spoken.
const ALPN: &[u8] = b"http/1.1";

/// A certificate chain, the leaf first, and its private key, both PEM.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct IdentityConfig {
    chain_pem: String,
    key_pem: String,
}

impl IdentityConfig {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain = read_certificates(&self.chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|_| "no private key".to_owned())?;
        Ok((chain, key))
    }
}

/// Whether callers have to show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

#[derive(Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct ServerTlsConfig {
    /// The first is for callers who name no host, or none that another one is for.
    certificates: Vec<IdentityConfig>,
    #[serde(default)]
    client_auth: ClientAuth,
    #[serde(default)]
    client_ca_pem: String,
    /// Of 96 hexadecimal digits each, the one that seals first; none = keys of this worker's own.
    #[serde(default)]
    ticket_keys: Vec<String>,
}

/// What callers of a listener see.
#[derive(Clone, Deserialize)]
#[serde(try_from = "ServerTlsConfig")]
pub struct ServerTls {
    cfg: ServerTlsConfig,
    pub(super) rustls: Arc<ServerConfig>,
}

impl TryFrom<ServerTlsConfig> for ServerTls {
    type Error = String;

    fn try_from(cfg: ServerTlsConfig) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let keys = cfg
            .certificates
            .iter()
            .map(|identity| {
                let (chain, key) = identity.read()?;
                CertifiedKey::from_der(chain, key, &provider)
                    .map(Arc::new)
                    .map_err(|error| format!("certificate and key: {error}"))
            })
            .collect::<Result<Vec<_>, String>>()?;
        if keys.is_empty() {
            return Err("no certificate".to_owned());
        }
        let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(Told))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match cfg.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            wanted => {
                let roots = Arc::new(read_roots(&cfg.client_ca_pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match wanted {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut rustls = builder.with_cert_resolver(Arc::new(ByName(keys)));
        rustls.alpn_protocols = vec![ALPN.to_vec()];
        rustls.ticketer = if cfg.ticket_keys.is_empty() {
            aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?
        } else {
            Arc::new(Tickets::new(&cfg.ticket_keys).ok_or("malformed ticket keys")?)
        };
        Ok(Self {
            cfg,
            rustls: Arc::new(rustls),
        })
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.cfg == other.cfg
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ServerTls({})", self.cfg.certificates.len())
    }
}

/// The first certificate that is valid for the host that a caller names, else the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello
            .server_name()
            .filter(|_| self.0.len() > 1)
            .and_then(|name| ServerName::try_from(name).ok());
        let found = named.and_then(|name| self.0.iter().find(|key| is_for(key, &name)));
        found.or(self.0.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .and_then(|leaf| verify_server_name(&leaf, name))
        .is_ok()
}

#[derive(Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct ClientTlsConfig {
    /// Certificates of authorities, PEM.
    roots_pem: String,
    /// What is shown to a target that asks.
    #[serde(default)]
    identity: Option<IdentityConfig>,
}

/// What a target has to show, and what it is shown.
#[derive(Clone, Deserialize)]
#[serde(try_from = "ClientTlsConfig")]
pub struct ClientTls {
    cfg: ClientTlsConfig,
    pub(super) rustls: Arc<ClientConfig>,
}

impl TryFrom<ClientTlsConfig> for ClientTls {
    type Error = String;

    fn try_from(cfg: ClientTlsConfig) -> Result<Self, String> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Told))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(read_roots(&cfg.roots_pem)?);
        let mut rustls = match &cfg.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("client certificate and key: {error}"))?
            }
        };
        rustls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            cfg,
            rustls: Arc::new(rustls),
        })
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.cfg == other.cfg
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientTls")
    }
}

/// How a target is secured. Connections are shared only between proxies that ask for the same.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(deny_unknown_fields)]
pub struct TargetTls {
    /// Key into [`crate::config::Config::upstream_tls`]; another content has another key.
    pub settings: String,
    /// The name that the target's certificate has to be for, and that it is asked for (SNI).
    pub server_name: String,
}

fn read_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| format!("certificate: {error}"))?;
    if found.is_empty() {
        return Err("no certificate".to_owned());
    }
    Ok(found)
}

/// Old authorities of a system's list may be unreadable; one readable is enough.
fn read_roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_certificates(pem)?);
    if added == 0 {
        return Err("no certificate of an authority".to_owned());
    }
    Ok(roots)
}
