//! The certificate of all servers that speak TLS, trusted by the clients and by nobody else.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use crate::Result;

/// A certificate and its key, in files for the servers.
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Certificate {
    /// A new one for these addresses, below `directory`.
    pub(crate) fn create(directory: &Path, addresses: &[&str]) -> Result<Certificate> {
        let names: Vec<String> = addresses.iter().map(|&name| name.to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names)?;
        let file = directory.join("certificate.pem");
        let key_file = directory.join("key.pem");
        std::fs::write(&file, issued.cert.pem())?;
        std::fs::write(&key_file, issued.signing_key.serialize_pem())?;
        Ok(Certificate {
            file,
            key_file,
            certificate: issued.cert.der().clone(),
        })
    }
}
