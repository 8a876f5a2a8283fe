//! A caller whose credential was found to be good, and what it says of them.

use serde_json::{Map, Value};

/// Claims of one credential, nested ones counted one by one.
const CLAIMS_MAX_COUNT: usize = 256;

/// Objects within objects.
const DEPTH_MAX: usize = 4;

/// Name and values of a claim.
type Claim = (Box<str>, Vec<Box<[u8]>>);

/// Somebody who is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    superuser: bool,
    /// Name and values, sorted by name; nested names have dots.
    claims: Vec<Claim>,
}

impl Caller {
    /// A caller of this id. `None` when there are more claims than can be kept: to leave some out would change what
    /// rules mean.
    pub(crate) fn new(id: &str, claims: &Map<String, Value>, superuser: bool) -> Option<Self> {
        let mut flat = Vec::new();
        flatten(claims, "", 0, &mut flat)?;
        // The id is the credential's, whatever a claim of that name says.
        flat.retain(|(name, _)| &**name != "id");
        flat.push(("id".into(), vec![id.as_bytes().into()]));
        flat.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Some(Self {
            superuser,
            claims: flat,
        })
    }

    /// Whether every rule lets them in.
    pub fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// The values of a claim: one for each item of a list, none when there is no such claim. `id` is the caller's id.
    pub fn claim(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let found = self
            .claims
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok();
        found
            .into_iter()
            .flat_map(|index| self.claims[index].1.iter().map(|value| &**value))
    }

    /// The caller's id.
    pub fn id(&self) -> &[u8] {
        self.claim("id").next().unwrap_or_default()
    }
}

fn flatten(
    claims: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    flat: &mut Vec<Claim>,
) -> Option<()> {
    for (name, value) in claims {
        // A dot would make two claims one.
        if name.contains('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        let values = match value {
            Value::Object(inner) if depth < DEPTH_MAX => {
                flatten(inner, &format!("{name}."), depth + 1, flat)?;
                continue;
            }
            Value::Array(items) => items.iter().filter_map(text).collect(),
            other => text(other).into_iter().collect::<Vec<_>>(),
        };
        if flat.len() == CLAIMS_MAX_COUNT {
            return None;
        }
        if !values.is_empty() {
            flat.push((name.into(), values));
        }
    }
    Some(())
}

fn text(value: &Value) -> Option<Box<[u8]>> {
    match value {
        Value::String(text) => Some(text.as_bytes().into()),
        Value::Number(number) => Some(number.to_string().into_bytes().into()),
        Value::Bool(truth) => Some(truth.to_string().into_bytes().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
