//! Gives back the memory that only the start needed.
//!
//! Reading the configuration, joining, and the first of everything run once, but the pages of code that they touched stay
//! in this process's memory, and of each the 64 kB around it that the kernel maps along: a fifth of what an idle agent
//! holds. They are unchanged pages of files. When they are given back the kernel keeps them as it keeps any file, and
//! the few that are needed again are back without a read from the disk. So the kernel does, too, but only when memory
//! is short. What lies free between pieces of memory in use, left by the handshakes, goes the same way.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

/// When the start is over for most: this machine has joined, and has a copy of the fleet's state. It is looked at again whenever
/// the agent has become twice as old, because where many start at once the last of them join late.
const FIRST: Duration = Duration::from_secs(30);

/// At least so often. Some hundred pages come back each time, which takes the kernel less than a millisecond.
const EVERY: Duration = Duration::from_secs(600);

/// The files that the program began with: its own and those of the libraries that it is linked to. They stay mapped as they
/// are until it ends. What is mapped later may go at any moment, so nothing of that is ever given back: the C
/// library, for one, loads what it looks up names with when it needs it.
#[derive(Debug, Default)]
pub(super) struct Files(HashSet<(Range<usize>, FileId)>);

impl Files {
    /// Those that are mapped now. To be called before anything is looked up, or started, that may load more.
    pub(super) fn mapped_now() -> Self {
        let mappings = File::open(SMAPS).and_then(|smaps| mappings(BufReader::new(smaps)));
        let mappings = mappings.unwrap_or_else(|error| {
            tracing::debug!(%error, "nobody says what of this program is in memory, so nothing will be given back");
            Vec::new()
        });
        Self(mappings.into_iter().map(Mapping::of_file).collect())
    }

    /// Gives back what is not needed, from time to time, for ever.
    pub(super) async fn keep_small(self) {
        let start = Instant::now();
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            pause = start.elapsed().min(EVERY);
            if let Err(error) = self.give_back() {
                tracing::debug!(%error, "memory that is not needed could not be given back");
            }
            trim();
        }
    }

    /// Gives back all pages of these files that were not changed in memory. Gives their bytes, needed or not.
    fn give_back(&self) -> io::Result<usize> {
        let mut given = 0;
        for range in self.unchanged(BufReader::new(File::open(SMAPS)?))? {
            release(&range)?;
            given += range.len();
        }
        Ok(given)
    }

    /// Their mappings that can't be written to and of which no page was changed.
    fn unchanged(&self, smaps: impl BufRead) -> io::Result<Vec<Range<usize>>> {
        let mut found = mappings(smaps)?;
        found.retain(|mapping| mapping.read_only && mapping.unchanged == [true; 2]);
        let kept = found.into_iter().map(Mapping::of_file);
        let ours = kept.filter(|mapping| self.0.contains(mapping));
        Ok(ours.map(|(range, _)| range).collect())
    }
}

/// Gives back whole pages of the heap that nothing lies in. The C library does that by itself only at the heap's end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe call")]
fn trim() {
    // SAFETY: `malloc_trim(3)` may be called by any thread at any time, and touches nothing that is in use.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries have no such call.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

/// Takes the pages of an unchanged mapping out of this process's memory.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "there is no safe call; what makes this one safe is said below"
)]
fn release(range: &Range<usize>) -> io::Result<()> {
    use rustix::mm::{Advice, madvise};

    let start = std::ptr::without_provenance_mut(range.start);
    // SAFETY: the kernel has just said that this range maps a file, can't be written to, and has no page, in memory or
    // swapped out, that differs from that file, so whoever reads it finds there what was there before. It was mapped like
    // that when the program began, and nobody maps anything else over a running program and its libraries.
    unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) }?;
    Ok(())
}

/// Elsewhere there is no such list of mappings, so there is nothing to release.
#[cfg(not(target_os = "linux"))]
fn release(_range: &Range<usize>) -> io::Result<()> {
    Ok(())
}

/// What the kernel says of this process's memory.
const SMAPS: &str = "/proc/self/smaps";

/// Device and inode.
type FileId = String;

/// A mapping of a file, as far as it was read.
struct Mapping {
    range: Range<usize>,
    file: FileId,
    read_only: bool,
    /// Whether no page in memory differs from the file, and none that was swapped out: both have to be said.
    unchanged: [bool; 2],
}

impl Mapping {
    fn of_file(self) -> (Range<usize>, FileId) {
        (self.range, self.file)
    }
}

/// All mappings of files, as `/proc/self/smaps` has them (`proc_pid_smaps(5)`): a line with range, permissions and path, then
/// lines such as `Anonymous:  0 kB` and `Swap:  0 kB`.
fn mappings(smaps: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut of_file = false;
    for line in smaps.lines() {
        let line = line?;
        if let Some(mapping) = mapping(&line) {
            of_file = mapping.is_some();
            found.extend(mapping);
        } else if let Some(last) = found.last_mut().filter(|_| of_file) {
            for (seen, key) in last.unchanged.iter_mut().zip(["Anonymous:", "Swap:"]) {
                if let Some(changed) = line.strip_prefix(key) {
                    *seen = changed.trim() == "0 kB";
                }
            }
        }
    }
    Ok(found)
}

/// A line that begins a mapping: what is mapped, if it is of a file. `None` for any other line.
fn mapping(line: &str) -> Option<Option<Mapping>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    let range = address(start)?..address(end)?;
    let permissions = fields.next()?;
    let (device, inode) = (fields.nth(1)?, fields.next()?);
    let is_file = fields.next().is_some_and(|path| path.starts_with('/'));
    Some(is_file.then(|| Mapping {
        range,
        file: format!("{device} {inode}"),
        read_only: permissions.ends_with('p') && !permissions.contains('w'),
        unchanged: [false; 2],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_START: &str = "\
1000-3000 r--p 00000000 fe:00 1234                       /usr/bin/muster agent
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me sd
3000-8000 r-xp 00002000 fe:00 1234                       /usr/bin/muster
Anonymous:             0 kB
Swap:                  0 kB
8000-8800 r--p 00008000 fe:00 1234                       /usr/bin/muster
Anonymous:             0 kB
Swap:                  4 kB
8800-8900 r--p 00008000 fe:00 1234                       /usr/bin/muster
Anonymous:             0 kB
8900-9000 r-xp 00008000 fe:00 77                         /usr/lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
9000-a000 r--p 00008000 fe:00 1234                       /usr/bin/muster
Anonymous:             4 kB
Swap:                  0 kB
a000-b000 rw-p 00009000 fe:00 1234                       /usr/bin/muster
Anonymous:             0 kB
b000-c000 r--s 00000000 fe:00 99                         /var/lib/shared
Anonymous:             0 kB
c000-d000 r--p 00000000 00:00 0
Anonymous:             0 kB
d000-e000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
";

    fn files(smaps: &str) -> Files {
        let mappings = mappings(smaps.as_bytes()).unwrap();
        Files(mappings.into_iter().map(Mapping::of_file).collect())
    }

    #[test]
    fn only_unchanged_pages_of_files_are_given_back() {
        let found = files(AT_START).unchanged(AT_START.as_bytes()).unwrap();
        assert_eq!(found, [0x1000..0x3000, 0x3000..0x8000, 0x8900..0x9000]);
    }

    #[test]
    fn what_was_mapped_later_is_not_given_back() {
        let later = AT_START.replace("fe:00 77 ", "fe:00 78 ");
        let found = files(AT_START).unchanged(later.as_bytes()).unwrap();
        assert_eq!(found, [0x1000..0x3000, 0x3000..0x8000], "another file");
        let later = AT_START.replace("1000-3000 ", "1000-2000 ");
        let found = files(AT_START).unchanged(later.as_bytes()).unwrap();
        assert_eq!(found, [0x3000..0x8000, 0x8900..0x9000], "another range");
        assert_eq!(Files::default().unchanged(later.as_bytes()).unwrap(), []);
    }

    #[test]
    fn whatever_the_kernel_says_is_read_without_harm() {
        let odd =
            "zz-1 r-xp\n10-\nAnonymous: 0 kB\n5-1 r-xp 0 0 0 /x\nAnonymous:\n-\n\n1000-2000\n";
        assert_eq!(files(odd).unchanged(odd.as_bytes()).unwrap(), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_given_back_is_there_again_when_it_is_needed() {
        static WORDS: [&str; 3] = ["leaves", "and", "returns"];
        let files = Files::mapped_now();
        assert!(files.give_back().unwrap() > 0);
        trim();
        assert_eq!(WORDS.concat(), "leavesandreturns");
        assert!(files.give_back().is_ok(), "code, too");
    }
}
