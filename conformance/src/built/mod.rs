//! What the specification demands of devices, and where stickler's devices keep it.
//!
//! One file a chapter. Each requirement names the code that keeps it, where a comment cites the
//! clause, and a test that fails without it; `tests/consistency` holds the catalogue to both.

use crate::requirement::Requirement;

mod basic;
mod block;
mod console;
mod entropy;
mod net;
mod pci;

/// Every chapter's requirements, in the order of the specification.
pub(crate) static CHAPTERS: [&[Requirement]; 6] = [
    basic::CHAPTER,
    pci::CHAPTER,
    net::CHAPTER,
    block::CHAPTER,
    console::CHAPTER,
    entropy::CHAPTER,
];

/// How many requirements there are in all.
pub(crate) const LEN: usize = {
    let (mut len, mut chapter) = (0, 0);
    while chapter < CHAPTERS.len() {
        len += CHAPTERS[chapter].len();
        chapter += 1;
    }
    len
};

/// Declares the requirements of one chapter: name, level, clauses, text, what was chosen where the
/// specification leaves a choice, the file that keeps it, and the test (file and function) that
/// shows it. Files are below `devices/src`.
macro_rules! built {
    ($(
        $name:literal, $level:ident [$($clause:literal),+ $(,)?],
            $text:literal,
            $(choice $choice:literal,)?
            code $code:literal, test $file:literal $test:ident;
    )+) => {
        /// This chapter's requirements.
        pub(super) static CHAPTER: &[$crate::requirement::Requirement] = &[
            $($crate::requirement::Requirement {
                name: $name,
                role: $crate::requirement::Role::Device,
                level: $crate::requirement::Level::$level,
                clauses: &[$($clause),+],
                how: $crate::requirement::How::Built(&$crate::requirement::Built {
                    code: concat!("devices/src/", $code),
                    test_file: concat!("devices/src/", $file),
                    test: stringify!($test),
                    choice: built!(@choice $($choice)?),
                }),
                text: $text,
                readings: &[],
            },)+
        ];
    };
    (@choice) => { None };
    (@choice $choice:literal) => { Some($choice) };
}
use built;
