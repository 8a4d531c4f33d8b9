//! Uploads that one node begins and others go on with, and real clients that meet another node at each request.

use holdfast_tests::{Blob, Command, DockerEngine, Image, eventually, http, random_bytes};

use super::{Cluster, Front};

#[test]
fn an_upload_goes_on_at_other_nodes_after_its_node_was_killed() {
    let mut cluster = Cluster::start(3, "");
    let clients = cluster.clients();
    let blob = Blob::new("application/octet-stream", random_bytes(71, 13_000_000));
    let session = clients[0].post("/v2/app/blobs/uploads/").body("").send();
    let session = session.expect(202).location().to_owned();
    // Two pieces that end within parts, at two nodes.
    let first = clients[0]
        .patch(&session)
        .body(&blob.bytes[..6_000_000])
        .send();
    let session = first.expect(202).location().to_owned();
    let second = clients[1]
        .patch(&session)
        .header("Content-Range", "6000000-7999999")
        .body(&blob.bytes[6_000_000..8_000_000])
        .send();
    let session = second.expect(202).location().to_owned();
    // The third breaks off with its node.
    clients[0]
        .patch(&session)
        .body(&blob.bytes[8_000_000..])
        .send_part(1_000_000);
    cluster.nodes[0].kill();
    let status = clients[2].get(&session).send().expect(204);
    let range = status.header("Range").expect("a range").to_owned();
    let (_, last) = range.split_once('-').expect("two numbers");
    let offset = last.parse::<usize>().expect("a number") + 1;
    assert!((8_000_000..=9_000_000).contains(&offset), "{range}");
    let session = status.header("Location").unwrap_or(&session).to_owned();
    let third = clients[2]
        .patch(&session)
        .body(&blob.bytes[offset..])
        .send();
    let session = third.expect(202).location().to_owned();
    let end = if session.contains('?') { '&' } else { '?' };
    let put = format!("{session}{end}digest={}", blob.digest);
    let _ = clients[1].put(&put).body("").send().expect(201);
    for client in &clients[1..] {
        let url = format!("/v2/app/blobs/{}", blob.digest);
        assert_eq!(client.get(&url).send().expect(200).body, blob.bytes);
    }
}

#[test]
fn of_two_nodes_at_one_session_the_later_request_has_it() {
    let cluster = Cluster::start(2, "");
    let clients = cluster.clients();
    let blob = Blob::new("application/octet-stream", random_bytes(72, 100_000));
    let session = clients[0].post("/v2/app/blobs/uploads/").body("").send();
    let session = session.expect(202).location().to_owned();
    // The first node has some bytes and waits for the rest of the request.
    let mut slow = clients[0].open().expect("connecting");
    let head = format!(
        "PATCH {session} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        cluster.nodes[0].host(),
        blob.bytes.len()
    );
    slow.send(head).expect("sending");
    slow.send(&blob.bytes[..50_000]).expect("sending");
    eventually("the first node has begun", || {
        cluster
            .database
            .query("SELECT sum(version) FROM uploads")
            .trim()
            == "1"
    });
    let end = if session.contains('?') { '&' } else { '?' };
    let put = format!("{session}{end}digest={}", blob.digest);
    let _ = clients[1]
        .put(&put)
        .body(&blob.bytes[..])
        .send()
        .expect(201);
    slow.send(&blob.bytes[50_000..]).expect("sending");
    let late = slow.answer(false).expect("an answer");
    assert_eq!(late.status, 404, "{}", late.text());
    let url = format!("/v2/app/blobs/{}", blob.digest);
    assert_eq!(clients[0].get(&url).send().expect(200).body, blob.bytes);
}

#[test]
fn real_clients_meet_another_node_at_each_request() {
    let cluster = Cluster::start(3, "");
    let front = Front::start(&cluster.nodes);
    let engine = DockerEngine::start();
    let image = Image::new(73, &[12_000_000, 300_000, 1]);
    let name = format!("{}/docker/app:v1", front.host());
    let archive = engine.home().path("image.tar");
    image.write_docker_archive(&archive, &[&name]);
    engine.docker().args(["load", "--input"]).arg(archive).run();
    engine.docker().args(["push", &name]).run();
    engine.remove_all_images();
    engine.docker().args(["pull", &name]).run();
    assert_eq!(engine.image_id(&name), image.config.digest);

    let layout = engine.home().path("layout");
    image.write_layout(&layout, "v2");
    let target = format!("{}/crane/app:v2", front.host());
    Command::new("crane")
        .args(["push"])
        .arg(&layout)
        .arg(&target)
        .run();
    Command::new("crane")
        .args(["validate", "--remote", &target])
        .run();
    let host = format!("reg={},tls=disabled", front.host());
    let chunked = format!("{}/regctl/app:v3", front.host());
    let from = format!("ocidir://{}:v2", layout.display());
    Command::new("regctl")
        .args(["--host", &format!("{host},blobChunk=1000000,blobMax=1")])
        .args(["image", "copy", &from, &chunked])
        .run();
    Command::new("crane")
        .args(["validate", "--remote", &chunked])
        .run();
}

#[test]
fn an_upload_that_a_sick_node_refuses_begins_at_another() {
    let cluster = Cluster::start(1, "");
    let sick = cluster.distant("5s");
    let nginx = Front::start([&cluster.nodes[0], &sick.node]);
    let front = http::Client::tcp(&nginx.host());
    sick.database.cut();
    // In turn, so every other request meets the sick one first.
    for _ in 0..4 {
        let begun = front.post("/v2/app/blobs/uploads/").body("").send();
        let _ = begun.expect(202);
    }
}
