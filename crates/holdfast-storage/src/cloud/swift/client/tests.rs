use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpListener;
use std::thread;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use object_store::client::{HttpRequest, HttpResponseBody, HttpService};

use super::*;
use crate::cloud::Common;
use crate::cloud::swift::{AuthVersion, EndpointType};

fn common() -> Common {
    Common {
        root_directory: String::new(),
        part_bytes: 1,
        redirect: false,
        user_agent: None,
        skip_verify: false,
        retries: 3,
        retry_pause: Duration::from_millis(1),
    }
}

fn identity(auth_url: &str) -> SwiftIdentity {
    SwiftIdentity {
        auth_url: auth_url.to_owned(),
        version: AuthVersion::V1,
        username: "u".to_owned(),
        password: "p".to_owned(),
        tenant: None,
        tenant_id: None,
        domain: None,
        domain_id: None,
        tenant_domain: None,
        tenant_domain_id: None,
        trust_id: None,
        region: None,
        endpoint_type: EndpointType::Public,
    }
}

/// Every error of a chain.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Answers a request on each of as many connections, and says where.
fn server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let own = address.clone();
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut head = BufReader::new(&connection).lines();
            while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let answer = answer.replace("OWN", &own);
            let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
            write!(connection, "HTTP/1.1 {answer}\r\n{rest}").unwrap();
        }
    });
    address
}

#[tokio::test]
async fn neither_passwords_nor_tokens_go_where_a_redirect_leads() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let place = format!("http://{}/there", elsewhere.local_addr().unwrap());
    let granted = "200 OK\r\nX-Auth-Token: T\r\nX-Storage-Url: OWN/v1/AUTH_a";
    for status in ["301 M", "302 F", "303 S", "307 T", "308 P"] {
        let redirect = format!("{status}\r\nLocation: {place}?secret#s");
        for answers in [
            vec![redirect.clone()],
            vec![granted.to_owned(), redirect.clone()],
        ] {
            let identity = identity(&server(answers));
            let common = common();
            let http = common.client_without_redirects().unwrap();
            let client = Client::new(http, common.retry(), identity, "c".to_owned());
            let asked = Asked::new(Method::GET, Place::Container);
            let failure = client.send(&asked).await.unwrap_err();
            let text = told(&failure);
            assert!(text.contains(&status[..3]), "{text}");
            let said = format!("to ask {place}; redirects are not followed");
            assert!(text.ends_with(&said), "{text}");
            // A connection would be there before the failure is.
            let nobody = elsewhere.accept().unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn urls_are_told_without_users() {
    for (url, told) in [
        ("https://h/v3", "https://h/v3"),
        ("https://h/a@b", "https://h/a@b"),
        ("https://u:secret@h/v3", "…@h/v3"),
        ("https://secret@h:5000", "…@h:5000"),
        ("https://:secret@h", "…@h"),
        ("https://u:sec@ret@h", "…@h"),
        ("https://u:sec/ret@h", "…@h"),
        ("u:secret@h/v3", "…@h/v3"),
        ("ftp://u:secret@h", "…@h"),
    ] {
        assert_eq!(without_user(url), told);
        assert!(!format!("{:?}", identity(url)).contains("secret"), "{url}");
        assert!(!not_a_url(url).to_string().contains("secret"), "{url}");
    }
}

#[tokio::test]
async fn a_failed_login_does_not_tell_the_user_of_the_url() {
    let url = server(vec!["403 F".to_owned()]).replace("//", "//u:secret@");
    let common = common();
    let http = common.client_without_redirects().unwrap();
    let client = Client::new(http, common.retry(), identity(&url), "c".to_owned());
    let text = told(&client.session(None).await.err().unwrap());
    assert!(text.starts_with("no token from …@127.0.0.1:"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_catalog_may_give_away_what_was_encrypted() {
    for (auth_url, storage, weakened) in [
        ("https://h/v3", "http://s/v1", true),
        ("https://h/v3", "https://s/v1", false),
        ("http://h/v3", "http://s/v1", false),
        ("http://h/v3", "https://s/v1", false),
    ] {
        let storage = storage.parse().unwrap();
        assert_eq!(identity(auth_url).is_weakened_by(&storage), weakened);
    }
}

/// An identity service that gives as many tokens for an hour, and then hangs.
#[derive(Clone, Debug)]
struct Hanging {
    tokens: usize,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl HttpService for Hanging {
    async fn call(&self, _request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= self.tokens {
            std::future::pending::<()>().await;
        }
        let answer = http::Response::builder()
            .header("x-auth-token", "T")
            .header("x-storage-url", "http://s/v1/AUTH_a")
            .header("x-auth-token-expires", "3600");
        Ok(answer.body(HttpResponseBody::from(Bytes::new())).unwrap())
    }
}

fn hanging(tokens: usize) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let service = Hanging {
        tokens,
        asked: Arc::clone(&asked),
    };
    let (http, us) = (HttpClient::new(service), identity("http://h/v1"));
    (
        Client::new(http, common().retry(), us, "c".to_owned()),
        asked,
    )
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_login_that_hangs_has_its_failure() {
    let (client, asked) = hanging(0);
    let began = Instant::now();
    let outcomes = join_all((0..50).map(|_| client.session(None))).await;
    for outcome in outcomes {
        let text = told(&outcome.err().unwrap());
        assert!(text.ends_with("it did not come in time"), "{text}");
    }
    assert!(began.elapsed() < LOGIN_PATIENCE + Duration::from_secs(1));
    // Nor does who comes at once after them wait; later there is another login.
    let late = Instant::now();
    assert!(client.session(None).await.is_err());
    assert_eq!(late.elapsed(), Duration::ZERO);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::advance(FAILURE_LIFE).await;
    assert!(client.session(None).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_renewed_is_used_to_its_end() {
    let (client, asked) = hanging(1);
    let first = client.session(None).await.unwrap();
    tokio::time::advance(Duration::from_secs(3400)).await;
    let began = Instant::now();
    let renewing = client.session(None);
    let others = async {
        let sessions = join_all((0..50).map(|_| client.session(None))).await;
        // They do not wait for the one that renews.
        assert_eq!(began.elapsed(), Duration::ZERO);
        sessions
    };
    let (renewing, mut sessions) = tokio::join!(renewing, others);
    assert!(began.elapsed() < RENEWAL_PATIENCE + Duration::from_secs(1));
    sessions.push(renewing);
    for session in sessions {
        assert!(Arc::ptr_eq(&session.unwrap(), &first));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    tokio::time::advance(Duration::from_secs(200)).await;
    assert!(client.session(None).await.is_err(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_spent_token_is_not_used_again() {
    let (client, asked) = hanging(2);
    let first = client.session(None).await.unwrap();
    let outcomes = join_all((0..50).map(|_| client.session(Some(&first)))).await;
    for outcome in outcomes {
        assert!(!Arc::ptr_eq(&outcome.unwrap(), &first));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let second = client.session(None).await.unwrap();
    assert!(client.session(Some(&second)).await.is_err());
    assert!(client.session(None).await.is_err());
}
