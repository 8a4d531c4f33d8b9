//! TLS: versions, suites, client certificates, and certificates that are read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme, version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{ClientAuth, Tls, TlsVersion};
use crate::watched::Watched;

/// Makes TLS connections out of plain ones.
#[derive(Clone)]
pub(crate) struct Acceptor {
    acceptor: TlsAcceptor,
}

impl Acceptor {
    /// Reads certificate, key and authorities. Every failure is one line that names the file.
    pub(crate) fn new(tls: &Tls, http2: bool) -> Result<Acceptor, String> {
        let provider = provider(tls);
        let versions: &[&rustls::SupportedProtocolVersion] = match tls.minimum {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| format!("http.tls: {error}"))?;
        let builder = match client_verifier(tls, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates::watch(tls, provider)?));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Acceptor {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Does the handshake.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        self.acceptor.accept(stream).await
    }
}

/// The cipher suites of the configuration, strongest first; those of TLS 1.3 always.
fn provider(tls: &Tls) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suite.version() == &version::TLS13 || tls.cipher_suites.contains(&name.as_str())
        });
    }
    Arc::new(provider)
}

/// The server's certificate, as its files have it now.
struct Certificates(Watched<CertifiedKey>);

impl Certificates {
    fn watch(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Certificates, String> {
        let (certificate, key) = (tls.certificate.clone(), tls.key.clone());
        let files = vec![certificate.clone(), key.clone()];
        Watched::new(files, move || certified_key(&certificate, &key, &provider)).map(Certificates)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

fn certified_key(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(certificate, "http.tls.certificate")?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        format!(
            "http.tls.key: cannot read a private key from {}: {error}",
            key.display()
        )
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        format!(
            "http.tls: certificate {} and key {} do not go together: {error}",
            certificate.display(),
            key.display()
        )
    })
}

fn certificates(file: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls::pki_types::pem::Error| {
        format!(
            "{name}: cannot read certificates from {}: {error}",
            file.display()
        )
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect();
    let chain = chain.map_err(failed)?;
    if chain.is_empty() {
        Err(format!("{name}: {} holds no certificate", file.display()))
    } else {
        Ok(chain)
    }
}

fn client_verifier(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if tls.client_cas.is_empty() {
        return Ok(None);
    }
    let roots = Arc::new(roots(&tls.client_cas)?);
    let verified =
        || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    let failed =
        |error: rustls::server::VerifierBuilderError| format!("http.tls.clientcas: {error}");
    let unverified = |required| {
        Arc::new(AnyCertificate {
            required,
            provider: Arc::clone(provider),
        })
    };
    Ok(Some(match tls.client_auth {
        ClientAuth::RequireAndVerify => verified().build().map_err(failed)?,
        ClientAuth::VerifyIfGiven => verified().allow_unauthenticated().build().map_err(failed)?,
        ClientAuth::RequireAny => unverified(true),
        ClientAuth::Request => unverified(false),
    }))
}

fn roots(files: &[PathBuf]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in certificates(file, "http.tls.clientcas")? {
            roots
                .add(certificate)
                .map_err(|error| format!("http.tls.clientcas: {}: {error}", file.display()))?;
        }
    }
    Ok(roots)
}

/// Asks for a certificate without judging it: who holds its key is known, who signed it is not.
#[derive(Debug)]
struct AnyCertificate {
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
