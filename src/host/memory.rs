//! Memory of large operands, in huge pages where the system has them: a product walks over more of the ordinary ones than a
//! processor remembers the places of.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// Values, zeros at first.
pub enum Memory<T> {
    Ordinary(Vec<T>),
    #[cfg(target_os = "linux")]
    Huge(memmap2::MmapMut),
}

impl<T: Pod> Memory<T> {
    pub fn new(count: usize) -> Self {
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 2 << 20;
            let bytes = count * size_of::<T>();
            if bytes >= PAGE
                && let Ok(map) = memmap2::MmapMut::map_anon(bytes)
            {
                let _ = map.advise(memmap2::Advice::HugePage); // without them it works as well
                return Memory::Huge(map);
            }
        }
        Memory::Ordinary(vec![T::zeroed(); count])
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory::Ordinary(Vec::new())
    }
}

impl<T: Pod> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Memory::Ordinary(values) => values,
            #[cfg(target_os = "linux")]
            Memory::Huge(map) => bytemuck::cast_slice(map),
        }
    }
}

impl<T: Pod> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Memory::Ordinary(values) => values,
            #[cfg(target_os = "linux")]
            Memory::Huge(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeros_and_keeps_what_is_written_in_pages_of_either_size() {
        for count in [0, 1000, (2 << 20) + 1] {
            let mut memory = Memory::<f32>::new(count);
            assert!(memory.len() == count && memory.iter().all(|v| *v == 0.0));
            memory.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
            assert!(memory.iter().enumerate().all(|(i, v)| *v == i as f32));
        }
    }
}
