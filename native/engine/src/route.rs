//! Which proxy serves a request: the longest path prefix, by whole segments, of the narrowest host.
//!
//! `/api` matches `/api`, `/api/` and `/api/x`, not `/apix`. A proxy with a host wins over one without,
//! whatever the lengths of their paths. Lookup hashes the request's path at each of its first slashes, as
//! many as the deepest configured path has: O(depth of the configuration), whatever a caller sends.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A multiplicative hash over short strings that an operator chose. A caller cannot add keys, so a slow
/// chain cannot be provoked.
#[derive(Default)]
struct PathHasher(u64);

impl Hasher for PathHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        let mut mix = |word: u64| {
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        };
        for chunk in &mut chunks {
            mix(u64::from_le_bytes(chunk.try_into().expect("chunks of 8")));
        }
        for &byte in chunks.remainder() {
            mix(u64::from(byte));
        }
    }
}

type PathMap = HashMap<Box<[u8]>, u32, BuildHasherDefault<PathHasher>>;

#[derive(Default)]
struct Paths {
    by_path: PathMap,
    /// Most slashes in a configured path; `/` alone has none to look at.
    depth_max: usize,
}

impl Paths {
    fn insert(&mut self, path: &str, proxy: u32) {
        let key = path.trim_end_matches('/').as_bytes();
        self.depth_max = self
            .depth_max
            .max(key.iter().filter(|&&byte| byte == b'/').count());
        self.by_path.insert(key.into(), proxy);
    }

    fn find(&self, path: &[u8]) -> Option<u32> {
        // Ends of the path's first `depth_max` segments, tried from the longest.
        let mut ends = [0_usize; 16];
        let mut found = None;
        let mut count = 0;
        let depth = self.depth_max;
        for end in memchr::memchr_iter(b'/', path)
            .skip(1)
            .chain([path.len()])
            .take(depth)
        {
            if count == ends.len() {
                // Deeper than the common case: remember the best so far and go on.
                found = self.longest(path, &ends[..count]).or(found);
                count = 0;
            }
            ends[count] = end;
            count += 1;
        }
        self.longest(path, &ends[..count])
            .or(found)
            .or_else(|| self.by_path.get(&b""[..]).copied())
    }

    fn longest(&self, path: &[u8], ends: &[usize]) -> Option<u32> {
        ends.iter()
            .rev()
            .find_map(|&end| self.by_path.get(&path[..end]).copied())
    }
}

/// The routes of one configuration.
#[derive(Default)]
pub(crate) struct Routes {
    any_host: Paths,
    by_host: HashMap<Box<[u8]>, Paths>,
}

/// Longest host name that can match: RFC 1035 allows 253, brackets and scope ids need a little more.
const HOST_MAX_BYTES: usize = 264;

impl Routes {
    pub(crate) fn insert(&mut self, host: Option<&str>, path: &str, proxy: u32) {
        match host {
            None => self.any_host.insert(path, proxy),
            Some(host) => {
                self.by_host
                    .entry(host.to_ascii_lowercase().into_bytes().into())
                    .or_default()
                    .insert(path, proxy);
            }
        }
    }

    /// Finds the proxy for `host` (with or without a port, any case) and a `path` that begins with a slash.
    pub(crate) fn find(&self, host: &[u8], path: &[u8]) -> Option<u32> {
        if !self.by_host.is_empty() {
            let name = without_port(host);
            let mut lower = [0; HOST_MAX_BYTES];
            if let Some(lower) = lower.get_mut(..name.len()) {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                let found = self.by_host.get(&*lower).and_then(|paths| paths.find(path));
                if found.is_some() {
                    return found;
                }
            }
        }
        self.any_host.find(path)
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        // The colons of an IPv6 address stand inside brackets.
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes(list: &[(Option<&str>, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (index, (host, path)) in list.iter().enumerate() {
            routes.insert(*host, path, index as u32);
        }
        routes
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let routes = routes(&[(None, "/api"), (None, "/api/proxy/x"), (None, "/")]);
        assert_eq!(routes.find(b"h", b"/api"), Some(0));
        assert_eq!(routes.find(b"h", b"/api/"), Some(0));
        assert_eq!(routes.find(b"h", b"/api/proxy/xy"), Some(0));
        assert_eq!(routes.find(b"h", b"/api/proxy/x/y/z"), Some(1));
        assert_eq!(routes.find(b"h", b"/apix"), Some(2));
        assert_eq!(routes.find(b"h", b"/"), Some(2));
    }

    #[test]
    fn nothing_matches_without_a_root() {
        let routes = routes(&[(None, "/api")]);
        assert_eq!(routes.find(b"h", b"/"), None);
        assert_eq!(routes.find(b"h", b"/other"), None);
    }

    #[test]
    fn a_host_narrows_and_wins() {
        let routes = routes(&[
            (None, "/api/deep"),
            (Some("A.test"), "/"),
            (Some("[::1]"), "/"),
        ]);
        assert_eq!(routes.find(b"a.TEST:8080", b"/api/deep"), Some(1));
        assert_eq!(routes.find(b"b.test", b"/api/deep/1"), Some(0));
        assert_eq!(routes.find(b"[::1]:80", b"/x"), Some(2));
        assert_eq!(routes.find(b"[::1]", b"/x"), Some(2));
        assert_eq!(routes.find(&[b'a'; 5000], b"/x"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            paths in prop::collection::hash_set("(/[ab]{1,2}){0,20}", 1..12),
            path in "(/[ab]{1,2}){1,22}/?",
        ) {
            let paths: Vec<String> =
                paths.into_iter().map(|path| if path.is_empty() { "/".into() } else { path }).collect();
            let list: Vec<_> = paths.iter().map(|path| (None, path.as_str())).collect();
            let expected = paths
                .iter()
                .enumerate()
                .filter(|(_, prefix)| {
                    let prefix = prefix.trim_end_matches('/');
                    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
                .max_by_key(|(_, prefix)| prefix.trim_end_matches('/').len())
                .map(|(index, _)| index as u32);
            prop_assert_eq!(routes(&list).find(b"h", path.as_bytes()), expected);
        }
    }
}
