//! What a caller must be allowed to do.

use holdfast_model::RepositoryName;

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission<'a> {
    /// Nothing but to be somebody.
    LogIn,
    /// See all repository names.
    Catalog,
    /// Read a repository.
    Pull(&'a RepositoryName),
    /// Read and write a repository.
    Push(&'a RepositoryName),
    /// Delete from a repository.
    Delete(&'a RepositoryName),
}

/// `(type, name, actions)` as Docker's token scopes spell it, for challenges and error details.
pub(crate) type Scope<'a> = (&'static str, &'a str, &'static [&'static str]);

impl<'a> Permission<'a> {
    /// The repository that it is about.
    pub(crate) fn repository(self) -> Option<&'a RepositoryName> {
        match self {
            Permission::LogIn | Permission::Catalog => None,
            Permission::Pull(name) | Permission::Push(name) | Permission::Delete(name) => {
                Some(name)
            }
        }
    }

    /// The scope that grants it.
    pub(crate) fn scope(&self) -> Option<Scope<'a>> {
        match self {
            Permission::LogIn => None,
            Permission::Catalog => Some(("registry", "catalog", &["*"])),
            Permission::Pull(name) => Some(("repository", name.as_str(), &["pull"])),
            Permission::Push(name) => Some(("repository", name.as_str(), &["pull", "push"])),
            Permission::Delete(name) => Some(("repository", name.as_str(), &["delete"])),
        }
    }
}
