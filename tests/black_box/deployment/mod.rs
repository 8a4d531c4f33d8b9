//! What is under `deploy/`: the container image, compose files, the systemd unit, the Helm chart.

mod compose;
mod helm;
mod image;
mod systemd;

use std::path::{Path, PathBuf};

use holdfast_tests::http::Client;
use holdfast_tests::{Command, DockerEngine, Image, Registry, eventually};

/// The image's name in the tests' engines.
const IMAGE: &str = "holdfast:test";

/// A file or directory below `deploy`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

/// An engine in a network of its own, where the calling thread is as well, with the image built.
fn engine_with_image() -> DockerEngine {
    let engine = DockerEngine::isolated();
    build(&engine, &[], IMAGE);
    engine
}

fn build(engine: &DockerEngine, options: &[&str], tag: &str) {
    engine
        .used_by(Command::at(&deploy("image/build")))
        .arg("--program")
        .arg(Registry::program())
        .args(options)
        .arg(tag)
        .run();
}

/// Waits for a registry, and returns a client for it.
fn answering(address: &str) -> Client {
    let client = Client::tcp(address);
    eventually("the registry answers", || {
        client.get("/v2/").try_send().is_ok()
    });
    client
}

/// Loads an image into the engine, pushes it, removes it, pulls it.
fn push_and_pull(engine: &DockerEngine, image: &Image, name: &str) {
    let archive = engine.home().path("image.tar");
    image.write_docker_archive(&archive, &[name]);
    engine.docker().args(["load", "--input"]).arg(archive).run();
    engine.docker().args(["push", name]).run();
    pull(engine, image, name);
}

/// Pulls an image that the engine has no more.
fn pull(engine: &DockerEngine, image: &Image, name: &str) {
    engine.docker().args(["rmi", "--force", name]).finish();
    engine.docker().args(["pull", name]).run();
    assert_eq!(
        engine.image_id(name),
        image.config.digest,
        "after docker pull of {name}"
    );
}
