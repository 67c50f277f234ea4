//! The requirements on devices, which stickler's devices satisfy.
//!
//! One file for each chapter. `tests/consistency` names for each requirement the code that implements it,
//! and a test that fails without that code.

pub(crate) mod basic;
pub(crate) mod block;
pub(crate) mod console;
pub(crate) mod entropy;
pub(crate) mod net;
pub(crate) mod pci;

/// Declares the requirements of one chapter: name, level, clauses of virtio 1.0, text, and stickler's
/// choice where the specification leaves one.
macro_rules! built {
    (
        chapter $chapter:ident;
        $(
            $name:literal, $level:ident [$($clause:literal),+ $(,)?],
                $text:literal
                $(, choice $choice:literal)?;
        )+
    ) => {
        /// The chapter of these requirements.
        pub(crate) const CHAPTER: $crate::rules::ChapterId = $crate::rules::ChapterId::$chapter;
        /// Advice is for drivers.
        pub(crate) static ADVICE: &[$crate::advice::Advice] = &[];
        /// This chapter's requirements.
        pub(crate) static REQUIREMENTS: &[$crate::requirement::Requirement] = &[
            $($crate::requirement::Requirement {
                name: $name,
                role: $crate::requirement::Role::Device,
                editions: &[$crate::requirement::Edition {
                    since: $crate::version::Version::V1_0,
                    level: $crate::requirement::Level::$level,
                    clauses: &[$($clause),+],
                }],
                until: None,
                how: $crate::requirement::How::Built { choice: built!(@choice $($choice)?) },
                text: $text,
                readings: &[],
            },)+
        ];
    };
    (@choice) => { None };
    (@choice $choice:literal) => { Some($choice) };
}
use built;
