//! Generational slab: connections by small integer keys that are never mistaken for a later owner.
//!
//! A key is 32 bits of index and 32 bits of generation. A key that outlived its value finds nothing, so
//! an event that the driver delivers late is dropped instead of reaching another connection.

/// Index (low 32 bits) and generation (high 32 bits) of one slab entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The number by which a driver names this connection.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The key that `to_bits` made; any number is safe, an unknown one finds nothing.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Position in the driver's own table; unique among the keys alive at one time.
    pub fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

struct Entry<T> {
    generation: u32,
    /// Boxed, so that a flood's memory goes with its connections: a place that is free takes 16 bytes.
    value: Option<Box<T>>,
}

/// Values by [`Key`]; insertion and removal are O(1), freed places are used again.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(Box::new(value));
            return Key::new(index, entry.generation);
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 connections");
        self.entries.push(Entry {
            generation: 0,
            value: Some(Box::new(value)),
        });
        Key::new(index, 0)
    }

    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index())?;
        if entry.generation != key.generation() {
            return None;
        }
        entry.value.as_deref_mut()
    }

    #[inline]
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.entries
            .get(key.index())
            .is_some_and(|entry| entry.generation == key.generation() && entry.value.is_some())
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index())?;
        if entry.generation != key.generation() {
            return None;
        }
        let value = *entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index() as u32);
        Some(value)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.value.is_some())
            .map(|(index, entry)| Key::new(index as u32, entry.generation))
    }
}

impl<T> std::ops::Index<Key> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: Key) -> &T {
        let entry = &self.entries[key.index()];
        debug_assert_eq!(entry.generation, key.generation());
        entry.value.as_ref().expect("the caller holds a live key")
    }
}

impl<T> std::ops::IndexMut<Key> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, key: Key) -> &mut T {
        let entry = &mut self.entries[key.index()];
        debug_assert_eq!(entry.generation, key.generation());
        entry.value.as_mut().expect("the caller holds a live key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index(), second.index());
        assert!(slab.find(first).is_none());
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.find(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn bits_round_trip() {
        let mut slab = Slab::new();
        let gone = slab.insert(1);
        slab.remove(gone);
        let key = slab.insert(2);
        assert_eq!(Key::from_bits(key.to_bits()), key);
        assert!(slab.contains(key));
        assert_eq!(slab.keys().collect::<Vec<_>>(), [key]);
    }
}
