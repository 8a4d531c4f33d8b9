//! Google Cloud Storage, as far as its documentation of the XML API goes: no emulator knows its multipart uploads. The
//! stub takes what the driver sends and nothing else, so it says which requests are made, not that Google takes them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use holdfast_storage::cloud::{Common, GcsCredentials, GcsSettings};
use holdfast_storage::{BlobStore, Cloud, suite};
use holdfast_tests::digest;

use super::driver::{common, random, runtime};

const BUCKET: &str = "registry";
/// The least that the service takes as a part that is not the last.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;

#[derive(Default)]
struct Contents {
    objects: BTreeMap<String, Arc<Vec<u8>>>,
    uploads: HashMap<String, Upload>,
    begun: usize,
}

struct Upload {
    name: String,
    parts: BTreeMap<usize, Vec<u8>>,
}

/// A request, taken apart.
struct Request {
    method: String,
    name: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn with(mut self, name: &'static str, value: String) -> Answer {
        self.headers.push((name, value));
        self
    }
}

fn e_tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &digest(bytes)[7..39])
}

fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let contents = Arc::new(Mutex::new(Contents::default()));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let contents = Arc::clone(&contents);
            thread::spawn(move || while serve(&client, &contents).is_some() {});
        }
    });
    address
}

/// Answers one request; `None` at the end of the connection.
fn serve(client: &TcpStream, contents: &Mutex<Contents>) -> Option<()> {
    let mut reader = BufReader::new(client);
    let request = read(&mut reader)?;
    let answer = contents.lock().ok()?.answer(&request);
    let length = match answer
        .headers
        .iter()
        .find(|(name, _)| *name == "Content-Length")
    {
        Some(_) => String::new(),
        None => format!("Content-Length: {}\r\n", answer.body.len()),
    };
    let mut head = format!("HTTP/1.1 {} Answer\r\n{length}", answer.status);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let mut writer = client;
    writer.write_all(head.as_bytes()).ok()?;
    if request.method != "HEAD" {
        writer.write_all(&answer.body).ok()?;
    }
    Some(())
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (target, _) = rest.split_once(' ')?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length");
    let length = length.map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    let name = decoded(path.strip_prefix(&format!("/{BUCKET}"))?);
    Some(Request {
        method: method.to_owned(),
        name: name.trim_start_matches('/').to_owned(),
        query: pairs.map(pair).collect(),
        headers,
        body,
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [rest.next(), rest.next()].map(|hex| hex.expect("two digits"));
                let hex = std::str::from_utf8(&hex).expect("two digits");
                u8::from_str_radix(hex, 16).expect("two digits")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("names are text")
}

impl Contents {
    fn answer(&mut self, request: &Request) -> Answer {
        let query = |name: &str| request.query.get(name).map(String::as_str);
        match (request.method.as_str(), query("uploadId")) {
            ("PUT", Some(id)) => {
                let number = query("partNumber").expect("a part has a number");
                let number = number.parse().expect("a part has a number");
                assert!((1..=10_000).contains(&number), "part {number}");
                let Some(upload) = self.uploads.get_mut(id) else {
                    return Answer::new(404, "NoSuchUpload");
                };
                assert_eq!(upload.name, request.name);
                upload.parts.insert(number, request.body.clone());
                Answer::new(200, "").with("ETag", e_tag(&request.body))
            }
            ("POST", Some(id)) => self.complete(id, request),
            ("DELETE", Some(id)) => match self.uploads.remove(id) {
                Some(_) => Answer::new(204, ""),
                None => Answer::new(404, "NoSuchUpload"),
            },
            ("POST", None) if query("uploads").is_some() => {
                self.begun += 1;
                let id = format!("upload+{}", self.begun);
                let upload = Upload {
                    name: request.name.clone(),
                    parts: BTreeMap::new(),
                };
                self.uploads.insert(id.clone(), upload);
                let text = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                Answer::new(200, text)
            }
            ("PUT", None) => {
                let bytes = match request.headers.get("x-goog-copy-source") {
                    None => Arc::new(request.body.clone()),
                    Some(source) => {
                        let source = decoded(source);
                        let name = source.trim_start_matches(&format!("{BUCKET}/"));
                        match self.objects.get(name) {
                            Some(object) => Arc::clone(object),
                            None => return Answer::new(404, "NoSuchKey"),
                        }
                    }
                };
                let tag = e_tag(&bytes);
                self.objects.insert(request.name.clone(), bytes);
                Answer::new(200, "").with("ETag", tag)
            }
            ("DELETE", None) => match self.objects.remove(&request.name) {
                Some(_) => Answer::new(204, ""),
                None => Answer::new(404, "NoSuchKey"),
            },
            ("GET", None) if request.name.is_empty() => self.list(request),
            ("GET" | "HEAD", None) => self.get(request),
            other => panic!("the driver makes no such request: {other:?}"),
        }
    }

    fn complete(&mut self, id: &str, request: &Request) -> Answer {
        let Some(upload) = self.uploads.get(id) else {
            return Answer::new(404, "NoSuchUpload");
        };
        let text = String::from_utf8(request.body.clone()).expect("a list is text");
        let parts: Vec<&str> = text.split("<Part>").skip(1).collect();
        let mut object = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let stored = upload.parts.get(&(index + 1));
            let wanted = part.replace("&quot;", "\"");
            let Some(bytes) = stored.filter(|bytes| wanted.contains(&e_tag(bytes))) else {
                return Answer::new(400, "InvalidPart");
            };
            if bytes.len() < PART_BYTES_MIN && index + 1 < parts.len() {
                return Answer::new(400, "EntityTooSmall");
            }
            object.extend_from_slice(bytes);
        }
        let tag = e_tag(&object);
        self.objects.insert(upload.name.clone(), Arc::new(object));
        self.uploads.remove(id);
        let text = format!(
            "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
            tag.replace('"', "&quot;")
        );
        Answer::new(200, text)
    }

    fn get(&self, request: &Request) -> Answer {
        let Some(object) = self.objects.get(&request.name) else {
            return Answer::new(404, "NoSuchKey");
        };
        let tag = e_tag(object);
        if request
            .headers
            .get("if-match")
            .is_some_and(|wanted| *wanted != tag)
        {
            return Answer::new(412, "PreconditionFailed");
        }
        let whole = object.len();
        let answer = match request.headers.get("range") {
            None => Answer::new(200, object.to_vec()),
            Some(range) => {
                let range = range.strip_prefix("bytes=").expect("bytes are asked for");
                let (first, last) = range.split_once('-').expect("a range has two ends");
                let first: usize = first.parse().expect("a range begins somewhere");
                let last: usize = last.parse().expect("a range ends somewhere");
                let part = &object[first..=last];
                let place = format!("bytes {first}-{last}/{whole}");
                Answer::new(206, part).with("Content-Range", place)
            }
        };
        let length = match request.method.as_str() {
            "HEAD" => whole,
            _ => answer.body.len(),
        };
        answer
            .with("Content-Length", length.to_string())
            .with("ETag", tag)
            .with("Last-Modified", "Thu, 26 Nov 2026 00:00:00 GMT".to_owned())
    }

    fn list(&self, request: &Request) -> Answer {
        let query = |name: &str| request.query.get(name).map_or("", String::as_str);
        let (prefix, after) = (query("prefix"), query("continuation-token"));
        let most: usize = query("max-keys").parse().expect("pages have a size");
        let mut entries = BTreeMap::new();
        for (name, object) in &self.objects {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let directory = rest.split_once('/').filter(|_| query("delimiter") == "/");
            let (entry, text) = match directory {
                Some((directory, _)) => {
                    let entry = format!("{prefix}{directory}/");
                    let text = format!("<CommonPrefixes><Prefix>{entry}</Prefix></CommonPrefixes>");
                    (entry, text)
                }
                None => (
                    name.clone(),
                    format!(
                        "<Contents><Key>{name}</Key><Size>{}</Size><ETag>x</ETag>\
                         <LastModified>2026-11-26T00:00:00.000Z</LastModified></Contents>",
                        object.len()
                    ),
                ),
            };
            if entry.as_str() > after {
                entries.insert(entry, text);
            }
        }
        let mut text = "<ListBucketResult>".to_owned();
        text.extend(entries.values().take(most).map(String::as_str));
        if entries.len() > most
            && let Some(last) = entries.keys().nth(most - 1)
        {
            let _ = write!(
                text,
                "<NextContinuationToken>{last}</NextContinuationToken>"
            );
        }
        Answer::new(200, text + "</ListBucketResult>")
    }
}

#[test]
fn gcs_keeps_every_promise_over_a_stub() {
    let address = start();
    // Without a private key nothing is signed and unfinished uploads are not listed; with `disable_oauth` nobody is
    // asked for a token.
    let account = format!(
        r#"{{"gcs_base_url": "http://{address}", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}}"#
    );
    let settings = GcsSettings {
        bucket: BUCKET.to_owned(),
        credentials: GcsCredentials::Json(account),
        common: Common {
            part_bytes: PART_BYTES_MIN,
            ..common()
        },
    };
    runtime().block_on(suite::run(async || {
        let opened = Cloud::gcs(&settings, random);
        opened.expect("the bucket opens") as Arc<dyn BlobStore>
    }));
}
