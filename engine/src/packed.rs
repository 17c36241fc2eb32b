//! Keys in one piece of memory.

/// Byte strings, one behind the other: where there are many small ones, memory of its own costs each more than what is done with it.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packed {
    /// None, and room for so many of a typical key's length.
    pub(crate) fn with_capacity(strings: usize) -> Self {
        Self { bytes: Vec::with_capacity(strings * 32), ends: Vec::with_capacity(strings) }
    }

    /// Adds one, made of these parts.
    pub(crate) fn push<const N: usize>(&mut self, parts: [&[u8]; N]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The one in this place; an empty one where there is none.
    pub(crate) fn get(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before));
        match (begin, self.ends.get(place)) {
            (Some(begin), Some(end)) => &self.bytes[*begin..*end],
            _ => &[],
        }
    }

    /// All of them, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place))
    }

    /// Takes all away, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let mut packed = Packed::with_capacity(1);
        for parts in [[&b"a"[..], b"bc"], [b"", b""], [b"", b"d"]] {
            packed.push(parts);
        }
        assert_eq!((packed.len(), packed.iter().collect::<Vec<_>>()), (3, vec![&b"abc"[..], b"", b"d"]));
        assert_eq!((packed.get(2), packed.get(3)), (&b"d"[..], &b""[..]));
        packed.clear();
        assert_eq!((packed.len(), packed.get(0)), (0, &b""[..]));
    }
}
