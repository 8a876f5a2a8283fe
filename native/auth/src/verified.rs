//! Tokens that have been verified, so that a caller who stays costs a digest a request.

use std::collections::HashMap;
use std::rc::Rc;

use crate::caller::Caller;
use crate::digest::Digest;

/// Most tokens that one worker remembers. Memory: as many credentials' claims.
pub const VERIFIED_MAX_COUNT: usize = 4_096;

type Entries = HashMap<Digest, (Rc<Caller>, u64)>;

/// Two generations of entries: when the younger one is full it becomes the older one, whose entries are forgotten but
/// for those that were used meanwhile. Only what was found to be good is kept, so nobody without a credential can push
/// others out.
#[derive(Default)]
pub(crate) struct VerifiedTokens {
    young: Entries,
    old: Entries,
}

impl VerifiedTokens {
    pub(crate) fn find(&mut self, digest: &Digest, now_unix_s: u64) -> Option<Rc<Caller>> {
        if let Some((caller, ends_unix_s)) = self.young.get(digest) {
            let good = now_unix_s < *ends_unix_s;
            return good.then(|| caller.clone());
        }
        let (caller, ends_unix_s) = self.old.remove(digest)?;
        if now_unix_s >= ends_unix_s {
            return None;
        }
        self.insert(*digest, caller.clone(), ends_unix_s);
        Some(caller)
    }

    pub(crate) fn insert(&mut self, digest: Digest, caller: Rc<Caller>, ends_unix_s: u64) {
        if self.young.len() >= VERIFIED_MAX_COUNT / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, (caller, ends_unix_s));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
