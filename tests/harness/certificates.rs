//! A certificate authority for one test, with a server certificate and a client certificate.

use std::path::{Path, PathBuf};

use crate::registry::IPV6_NAME;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM files of an authority, of a server with all names that the tests use, and of a client.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, for clients to trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
    /// The client's certificate, signed by the same authority.
    pub client: PathBuf,
    /// The client's private key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes everything new in this directory.
    ///
    /// # Panics
    /// When it cannot be written there.
    #[must_use]
    pub fn generate(directory: &Path) -> Self {
        let mut authority = named("Holdfast test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let authority_key = new_key();
        let certificate = authority
            .self_signed(&authority_key)
            .expect("signing the authority's certificate");
        let issuer = Issuer::new(authority, authority_key);

        let (server, server_key) = issue(&issuer, "localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = issue(&issuer, "client", ExtendedKeyUsagePurpose::ClientAuth);
        let write = |name: &str, pem: String| {
            let path = directory.join(name);
            std::fs::write(&path, pem).expect("writing a certificate");
            path
        };
        Self {
            authority: write("ca.crt", certificate.pem()),
            server: write("server.crt", server),
            server_key: write("server.key", server_key),
            client: write("client.crt", client),
            client_key: write("client.key", client_key),
        }
    }

    /// Fills a directory of the form that docker's `certs.d/<host>` and `--cert-dir` have.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn fill_directory(&self, directory: &Path, with_client: bool) {
        std::fs::create_dir_all(directory).expect("making a certificate directory");
        let copy = |from: &Path, name: &str| {
            std::fs::copy(from, directory.join(name)).expect("copying a certificate");
        };
        copy(&self.authority, "ca.crt");
        if with_client {
            copy(&self.client, "client.cert");
            copy(&self.client_key, "client.key");
        }
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("generating a key")
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let names = ["localhost", "127.0.0.1", IPV6_NAME].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("valid subject names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = new_key();
    let certificate = params
        .signed_by(&key, issuer)
        .expect("signing a certificate");
    (certificate.pem(), key.serialize_pem())
}
