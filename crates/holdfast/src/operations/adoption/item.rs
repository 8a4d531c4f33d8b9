//! Importing the one thing that a request asks for, while its repository waits.

use holdfast_model::{Digest, Manifest, Reference, RepositoryName, Tag};

use super::hashed;
use super::import::Import;
use crate::operations::{Operations, Result};

impl Operations {
    /// Imports a tag or manifest that the database does not know; whether that may have changed anything.
    pub(in crate::operations) async fn adopt_reference(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool> {
        if !self.adoption.under_way() {
            return Ok(false);
        }
        let Some(waits) = self.waits(repository).await? else {
            // It may have been done since the database was asked.
            return Ok(true);
        };
        let _importing = self
            .adoption
            .0
            .importing
            .wait(hashed((repository, reference)))
            .await;
        if self
            .metadata
            .manifest(repository, reference)
            .await?
            .is_none()
        {
            let mut import = Import::new(self, repository, waits, true);
            match reference {
                Reference::Tag(tag) => import.tag(tag).await?,
                Reference::Digest(digest) => drop(import.tree(*digest).await?),
            }
        }
        Ok(true)
    }

    /// Imports the link to a blob that the database does not know; whether that may have changed anything.
    pub(in crate::operations) async fn adopt_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool> {
        if !self.adoption.under_way() {
            return Ok(false);
        }
        if let Some(waits) = self.waits(repository).await? {
            let mut import = Import::new(self, repository, waits, true);
            import.links_alone(&[*digest]).await?;
        }
        Ok(true)
    }

    /// Imports what a manifest that is being pushed names, and the tags that it moves, so that it is judged,
    /// and their history goes on, as if the repository were done.
    pub(in crate::operations) async fn adopt_what_is_named(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<()> {
        if !self.adoption.under_way() {
            return Ok(());
        }
        let Some(waits) = self.waits(repository).await? else {
            return Ok(());
        };
        for tag in tags {
            self.adopt_reference(repository, &Reference::Tag(tag.clone()))
                .await?;
        }
        self.adopt_reference(repository, &Reference::Digest(*digest))
            .await?;
        let children: Vec<Digest> = manifest.children.iter().map(|child| child.digest).collect();
        for child in self
            .metadata
            .unknown_manifests(repository, &children)
            .await?
        {
            self.adopt_reference(repository, &Reference::Digest(child))
                .await?;
        }
        let named = manifest.blobs().chain(&manifest.children);
        let named: Vec<Digest> = named.map(|one| one.digest).collect();
        let unlinked = self.metadata.unlinked_blobs(repository, &named).await?;
        Import::new(self, repository, waits, true)
            .links_alone(&unlinked)
            .await
    }
}
