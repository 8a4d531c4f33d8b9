//! Pages of `tags/list` and of the catalog, on stores of several sizes.
//!
//! Holdfast is filled by pushes. Distribution would take hours for large stores; there its link files are
//! written as it writes them itself (its `registry/storage/paths.go`).

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{CONFIG, Case, Group, MANIFEST_TYPE, Scale, image_manifest};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::Connection;
use crate::content::digest;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::server::Server;
use crate::software::{Kind, Software, Variant};

const CONNECTIONS: usize = 16;
/// Connections that fill a store.
const FILLING: usize = 64;
const PAGE: usize = 100;

/// A store with so many tags in one repository and so many repositories.
pub(crate) struct Lists {
    name: &'static str,
    /// A repository for each number, with so many tags.
    tags: Vec<usize>,
    repositories: usize,
    takes: fn(&Software) -> bool,
}

enum List {
    Tags(usize),
    Catalog(usize),
}

impl Lists {
    /// For every registry.
    pub(crate) fn small() -> Lists {
        Lists {
            name: "lists",
            tags: vec![1000],
            repositories: 1000,
            takes: |_| true,
        }
    }

    /// For those whose stores can be written.
    pub(crate) fn large() -> Lists {
        Lists {
            name: "lists-large",
            tags: vec![100_000],
            repositories: 0,
            takes: |software| software.writes_link_files() || software.is_holdfast(),
        }
    }

    /// For Holdfast.
    pub(crate) fn huge() -> Lists {
        Lists {
            name: "lists-huge",
            tags: vec![1000, 1_000_000],
            repositories: 100_000,
            takes: Software::is_holdfast,
        }
    }

    /// In a short run a thousandth, or as few as make a list.
    fn scaled(&self, scale: &Scale, count: usize) -> usize {
        match scale.short {
            true => (count / 1000).clamp(count.min(10), 100),
            false => count,
        }
    }
}

fn tag(number: usize) -> String {
    format!("v{number:07}")
}

fn tags_repository(count: usize) -> String {
    format!("bench/tags-{count}")
}

/// All in one place of the catalog, so that pages of these are asked for.
fn catalog_repository(number: usize) -> String {
    format!("catalog/r{number:07}")
}

impl Group for Lists {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        if self.name != "lists" {
            return "As `lists`, with more.".to_owned();
        }
        format!(
            "Pages of {PAGE} from the middle of a repository's tags and of the catalog, {CONNECTIONS} connections; a server that does not page sends the whole list. More than 1,000 tags are pushed to Holdfast and written as link files for Distribution; zot is not filled with more, and nobody but Holdfast with 1,000,000. The server has one core, the clients another."
        )
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.kind {
            Kind::Registry if (self.takes)(software) => vec![Variant::Plain],
            Kind::Registry | Kind::Files => Vec::new(),
        }
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        let manifest = image_manifest(&[]);
        let target = server.target();
        for &count in &self.tags {
            let count = self.scaled(&bench.scale, count);
            let repository = tags_repository(count);
            let written = self.name != "lists" && server.software().writes_link_files();
            let pushed = if written { 1 } else { count };
            bench.block_on(async {
                let mut first = Connection::open(target).await?;
                first.push_config(&repository, CONFIG).await?;
                let connections = Connection::open_many(target, FILLING).await?;
                let push = async |connection: &mut Connection, index: usize| {
                    connection
                        .push_manifest(&repository, &tag(index), MANIFEST_TYPE, &manifest)
                        .await
                };
                load::closed(connections, End::Jobs(pushed), false, push).await
            })?;
            if written {
                let digest = digest(Sha256::new_with_prefix(&manifest));
                write_tags(server.home(), &repository, &digest, 1..count)?;
            }
        }
        let repositories = self.scaled(&bench.scale, self.repositories);
        bench.block_on(async {
            let mut first = Connection::open(target).await?;
            first.push_config("bench/config", CONFIG).await?;
            let config = digest(Sha256::new_with_prefix(CONFIG));
            let connections = Connection::open_many(target, FILLING).await?;
            let push = async |connection: &mut Connection, index: usize| -> Result<()> {
                let repository = catalog_repository(index);
                let mounted = connection
                    .mount(&repository, &config, "bench/config")
                    .await?;
                if mounted.is_some() {
                    connection.push_config(&repository, CONFIG).await?;
                }
                connection
                    .push_manifest(&repository, &tag(0), MANIFEST_TYPE, &manifest)
                    .await
            };
            load::closed(connections, End::Jobs(repositories), false, push).await
        })?;
        Ok(())
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let mut lists: Vec<List> = self
            .tags
            .iter()
            .map(|&count| List::Tags(self.scaled(scale, count)))
            .collect();
        if self.repositories > 0 {
            lists.push(List::Catalog(self.scaled(scale, self.repositories)));
        }
        let case = |list| -> Box<dyn Case + 'a> { Box::new(list) };
        lists.into_iter().map(case).collect()
    }
}

impl Case for List {
    fn name(&self) -> String {
        match self {
            List::Tags(count) => format!("tags, {count}"),
            List::Catalog(count) => format!("catalog, {count} repositories"),
        }
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let path = match *self {
            List::Tags(count) => {
                let (repository, last) = (tags_repository(count), tag(count / 2));
                format!("/v2/{repository}/tags/list?n={PAGE}&last={last}")
            }
            List::Catalog(count) => {
                let last = catalog_repository(count / 2);
                format!("/v2/_catalog?n={PAGE}&last={last}")
            }
        };
        let get = target.request("GET", &path, "", 200);
        let mut connections = bench.block_on(Connection::open_many(target, CONNECTIONS))?;
        let mut page = Vec::new();
        bench.block_on(async {
            let mut sink = |piece: &[u8]| page.extend_from_slice(piece);
            connections[0].exchange(&get, &[], &mut sink).await
        })?;
        let next = match *self {
            List::Tags(count) => tag(count / 2 + 1),
            List::Catalog(count) => catalog_repository(count / 2 + 1),
        };
        if !String::from_utf8_lossy(&page).contains(&next) {
            return Err(format!("the page has no {next}").into());
        }
        let job = async |connection: &mut Connection, _| -> Result<()> {
            connection.exchange(&get, &[], &mut |_| {}).await?;
            Ok(())
        };
        let end = End::After(bench.scale.window);
        let (done, sample) = round.measure(Placement::Pinned, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        Ok(Sample {
            amount: done as f64,
            ..sample
        })
    }
}

/// Tags as Distribution's file-system driver has them.
fn write_tags(
    home: &Path,
    repository: &str,
    digest: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags");
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    for number in numbers {
        let directory = home.join(&tags).join(tag(number));
        let index = directory.join("index/sha256").join(hex);
        let current = directory.join("current");
        for place in [index, current] {
            fs::create_dir_all(&place)?;
            fs::write(place.join("link"), digest)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_sort_as_they_count() {
        assert!(tag(9) < tag(10) && tag(99_999) < tag(100_000));
    }

    #[test]
    fn link_files_lie_where_distribution_looks() {
        let home = tempfile::tempdir().unwrap();
        write_tags(home.path(), "a/b", "sha256:12ab", 3..4).unwrap();
        let tag = home
            .path()
            .join("data/docker/registry/v2/repositories/a/b/_manifests/tags/v0000003");
        for link in ["current/link", "index/sha256/12ab/link"] {
            assert_eq!(fs::read_to_string(tag.join(link)).unwrap(), "sha256:12ab");
        }
    }
}
