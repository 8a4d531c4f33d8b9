//! Upload sessions.

use holdfast_metadata::{UploadCreated, UploadProgress};
use holdfast_model::Algorithm;

use super::on_every_engine;
use crate::fixture::*;

on_every_engine!(
    an_upload_session_lives_from_creation_to_deletion,
    open_sessions_are_limited,
    expired_sessions_are_listed_oldest_first,
    all_sessions_are_listed_in_pages,
);

fn progress(offset: u64, hash_state: Option<Vec<u8>>) -> UploadProgress {
    UploadProgress {
        offset,
        hash_state,
        backend_state: None,
        doubtful: false,
    }
}

async fn an_upload_session_lives_from_creation_to_deletion(db: &Database) {
    let (repository, id) = (name("a/b"), upload_id(1));
    let mut new = upload("a/b", 1);
    new.algorithm = Some(Algorithm::Sha512);
    assert_eq!(
        db.metadata.create_upload(new).await.unwrap(),
        UploadCreated::Created
    );
    let found = db.metadata.upload(&repository, id).await.unwrap().unwrap();
    assert_eq!(
        (found.offset, &found.hash_state, found.algorithm),
        (0, &None, Some(Algorithm::Sha512))
    );
    assert_eq!(
        (
            found.created_at,
            found.expires_at,
            found.storage_key.as_str()
        ),
        (NOW, later(1), "uploads/1")
    );

    assert!(
        db.metadata
            .save_upload(id, 0, progress(77, Some(vec![1, 2])), later(5))
            .await
            .unwrap()
    );
    let found = db.metadata.upload(&repository, id).await.unwrap().unwrap();
    assert_eq!(
        (found.offset, found.hash_state, found.expires_at),
        (77, Some(vec![1, 2]), later(5))
    );
    assert_eq!((found.backend_state, found.doubtful), (None, false));

    // Of two that go on from the same record, the first has the session, until another takes it over.
    assert!(db.metadata.doubt_upload(id, 0).await.unwrap());
    assert!(!db.metadata.doubt_upload(id, 0).await.unwrap());
    let found = db.metadata.upload(&repository, id).await.unwrap().unwrap();
    assert_eq!((found.offset, found.doubtful, found.version), (77, true, 1));
    assert!(db.metadata.doubt_upload(id, 1).await.unwrap());
    let late = db.metadata.save_upload(id, 1, progress(80, None), later(5));
    assert!(!late.await.unwrap());
    for doubtful in [true, false] {
        let further = UploadProgress {
            backend_state: Some("part 1".to_owned()),
            doubtful,
            ..progress(99, Some(vec![3]))
        };
        assert!(
            db.metadata
                .save_upload(id, 2, further, later(5))
                .await
                .unwrap()
        );
        let found = db.metadata.upload(&repository, id).await.unwrap().unwrap();
        assert_eq!(
            (found.offset, found.backend_state.as_deref(), found.doubtful),
            (99, Some("part 1"), doubtful)
        );
    }

    assert_eq!(db.metadata.upload(&name("other"), id).await.unwrap(), None);
    assert!(
        !db.metadata
            .delete_upload(&name("other"), id, NOW)
            .await
            .unwrap()
    );
    assert!(
        db.metadata
            .delete_upload(&repository, id, NOW)
            .await
            .unwrap()
    );
    assert!(
        !db.metadata
            .delete_upload(&repository, id, NOW)
            .await
            .unwrap()
    );
    assert!(
        !db.metadata
            .save_upload(id, 2, progress(78, None), later(5))
            .await
            .unwrap()
    );
    assert!(!db.metadata.doubt_upload(id, 2).await.unwrap());
    assert_eq!(db.metadata.upload(&repository, id).await.unwrap(), None);
}

async fn open_sessions_are_limited(db: &Database) {
    for number in 0..3 {
        let mut new = upload("a/b", number);
        new.limit_open_sessions = 2;
        let wanted = if number < 2 {
            UploadCreated::Created
        } else {
            UploadCreated::TooMany
        };
        assert_eq!(db.metadata.create_upload(new).await.unwrap(), wanted);
    }
    db.metadata
        .delete_upload(&name("a/b"), upload_id(0), NOW)
        .await
        .unwrap();
    let mut new = upload("a/b", 9);
    new.limit_open_sessions = 2;
    assert_eq!(
        db.metadata.create_upload(new).await.unwrap(),
        UploadCreated::Created
    );
}

async fn expired_sessions_are_listed_oldest_first(db: &Database) {
    for (number, hours) in [(1, 3), (2, 1), (3, 2), (4, 9)] {
        let mut new = upload("a/b", number);
        new.expires_at = later(hours);
        db.metadata.create_upload(new).await.unwrap();
    }
    let expired = db.metadata.expired_uploads(later(3), 10).await.unwrap();
    assert_eq!(
        expired.iter().map(|one| one.id).collect::<Vec<_>>(),
        [2, 3, 1].map(upload_id)
    );
    assert!(
        expired
            .iter()
            .all(|one| one.repository == name("a/b") && one.created_at == NOW)
    );
    assert_eq!(
        db.metadata
            .expired_uploads(later(3), 2)
            .await
            .unwrap()
            .len(),
        2
    );
}

async fn all_sessions_are_listed_in_pages(db: &Database) {
    for number in 0..25 {
        db.metadata
            .create_upload(upload("a/b", number))
            .await
            .unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = db.metadata.uploads_after(after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|upload| upload.id));
    }
    let mut wanted: Vec<_> = (0..25).map(upload_id).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
}
