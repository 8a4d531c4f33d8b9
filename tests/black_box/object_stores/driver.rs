//! The suite of all drivers, against servers that speak the real protocols.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_storage::cloud::{AzureCredentials, AzureSettings, Common, S3Settings};
use holdfast_storage::{BlobStore, Cloud, suite};
use holdfast_tests::{ObjectServer, Service};

pub(super) fn random() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (u128::from(count) << 64 | u128::from(std::process::id())).to_be_bytes()
}

pub(super) fn common() -> Common {
    Common {
        root_directory: "a/b".to_owned(),
        part_bytes: 5 * 1024 * 1024,
        redirect: true,
        user_agent: None,
        skip_verify: false,
        retries: 3,
        retry_pause: Duration::from_millis(10),
    }
}

pub(super) fn s3(server: &ObjectServer) -> S3Settings {
    let (id, secret) = server.keys();
    S3Settings {
        bucket: server.bucket().to_owned(),
        region: None,
        endpoint: Some(format!("http://{}", server.address())),
        path_style: true,
        keys: Some((id.to_owned(), secret.to_owned())),
        session_token: None,
        encrypt: false,
        key_id: None,
        secure: false,
        accelerate: false,
        dual_stack: false,
        fips: false,
        storage_class: None,
        acl: None,
        public_endpoint: None,
        common: common(),
    }
}

fn azure(server: &ObjectServer, leading_slash: Option<bool>) -> AzureSettings {
    let (account, key) = server.keys();
    AzureSettings {
        account: account.to_owned(),
        container: server.bucket().to_owned(),
        service_url: format!("http://{}/{account}", server.address()),
        credentials: AzureCredentials::SharedKey(key.to_owned()),
        leading_slash,
        common: common(),
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().expect("a runtime starts")
}

fn keeps_every_promise_on(service: Service) {
    let server = ObjectServer::start(service);
    let settings = s3(&server);
    runtime().block_on(async {
        let open = || Cloud::s3(&settings, random).expect("the bucket opens");
        suite::run(async || open() as Arc<dyn BlobStore>).await;
        let left = open().unfinished(1000).await.expect("uploads are listed");
        assert_eq!(left, [], "no multipart upload is left");
    });
}

#[test]
fn s3_on_versity_keeps_every_promise() {
    keeps_every_promise_on(Service::Versity);
}

#[test]
fn s3_on_moto_keeps_every_promise() {
    keeps_every_promise_on(Service::Moto);
}

#[test]
fn azure_keeps_every_promise() {
    let server = ObjectServer::start(Service::Azurite);
    let settings = azure(&server, None);
    runtime().block_on(suite::run(async || {
        let opened = Cloud::azure(&settings, random).await;
        opened.expect("the container opens") as Arc<dyn BlobStore>
    }));
}
