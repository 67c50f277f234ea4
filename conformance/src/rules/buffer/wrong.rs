//! Finds which requirements a chain breaks: the cold path.
//!
//! Citations are of virtio 1.0.

use super::*;
use crate::event::IndirectFault;

/// Judges a chain that may break a rule, requirement by requirement.
#[cold]
#[inline(never)]
pub(super) fn chain(chain: &Buffer<'_>, shape: &Shape, session: &Session, verdicts: &mut Verdicts) {
    let queue = Some(chain.queue);
    let head = chain.id;
    if !verdicts.check(HEAD, *chain.end != ChainEnd::HeadOutOfRange, queue, || {
        format!(
            "the available ring has {head}; the table has {} descriptors",
            chain.size
        )
    }) {
        return;
    }
    // For a chain that is made available twice, only that is reported.
    if !verdicts.check(HEAD_FREE, !chain.in_flight, queue, || {
        format!("chain {head} made available again before the device has returned it")
    }) {
        return;
    }
    verdicts.check(DESCRIPTOR_FREE, !shape.occupied, queue, || {
        format!("chain {head} has a descriptor of another chain that the device has not returned")
    });
    verdicts.check(ORDER, !shape.directions.disordered(), queue, || {
        format!("chain {head} has a device-readable buffer after a device-writable one")
    });
    verdicts.check_by(NOT_EMPTY, [true, !shape.empty], queue, || {
        format!("chain {head} has a descriptor whose len is 0")
    });
    verdicts.check(TOTAL, shape.total <= MAX_TOTAL, queue, || {
        format!("the buffers of chain {head} have {} bytes", shape.total)
    });
    verdicts.check(FLAGS, shape.flags & !DEFINED == 0, queue, || {
        format!(
            "chain {head} has the undefined flags {:#x}",
            shape.flags & !DEFINED
        )
    });
    verdicts.check(EXCESSIVE, !shape.is_excessive(), queue, || {
        format!(
            "chain {head} divides {} bytes into {} descriptors",
            shape.total,
            shape.direct + shape.indirect
        )
    });
    indirect(chain, session, verdicts);
    end(chain, shape, verdicts);
}

/// Indirect descriptors (§2.4.5.3).
fn indirect(chain: &Buffer<'_>, session: &Session, verdicts: &mut Verdicts) {
    let queue = Some(chain.queue);
    let head = chain.id;
    for e in chain.elements {
        if e.flags & desc::INDIRECT == 0 {
            continue;
        }
        let says = |what: &str| format!("descriptor {} of chain {head} {what}", e.index);
        // A table within a table is reported under a requirement of its own.
        if e.indirect {
            verdicts.violated(
                INDIRECT_NESTED,
                queue,
                says("has VIRTQ_DESC_F_INDIRECT and is in an indirect table"),
            );
            continue;
        }
        verdicts.check(
            INDIRECT_NEGOTIATED,
            session.has(RING_INDIRECT_DESC),
            queue,
            || says("has VIRTQ_DESC_F_INDIRECT, which was not negotiated"),
        );
        verdicts.check(INDIRECT_NEXT, e.flags & desc::NEXT == 0, queue, || {
            says("has both VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT")
        });
    }
}

/// How the walk ended.
fn end(chain: &Buffer<'_>, shape: &Shape, verdicts: &mut Verdicts) {
    let queue = Some(chain.queue);
    let head = chain.id;
    let last = chain.elements.last();
    match *chain.end {
        ChainEnd::Complete => {
            let refers = usize::from(shape.flags & desc::INDIRECT != 0);
            let size = usize::from(chain.size);
            let each = shape.direct + refers <= size && shape.indirect <= size;
            let together = each && shape.direct + shape.indirect <= size;
            verdicts.check_by(LENGTH, [each, together], queue, || {
                format!(
                    "chain {head} has {} descriptors, and {} in an indirect table; the queue has {size}",
                    shape.direct + refers,
                    shape.indirect
                )
            });
        }
        ChainEnd::HeadOutOfRange => {}
        ChainEnd::NextOutOfRange { next, table } => {
            let requirement = if last.is_some_and(|e| e.indirect) {
                INDIRECT_TABLE_NEXT
            } else {
                NEXT
            };
            let message = format!("chain {head} continues at {next} in a table of {table}");
            verdicts.violated(requirement, queue, message);
        }
        ChainEnd::TooLong => {
            let table = chain
                .elements
                .iter()
                .filter(|e| last.is_none_or(|l| l.indirect == e.indirect));
            let next = last.map(|e| e.next);
            if returns(table.map(|e| e.index).chain(next)) {
                verdicts.violated(LOOP, queue, format!("chain {head} loops"));
            } else {
                let message = format!(
                    "chain {head} continues after {} descriptors, which is the size of the queue",
                    chain.size
                );
                verdicts.violated(LENGTH, queue, message);
            }
        }
        ChainEnd::Indirect(fault) => {
            let (addr, len) = last.map_or((0, 0), |e| (e.addr, e.len));
            let message = format!("chain {head} refers to a table of {len} bytes at {addr:#x}");
            match fault {
                // Reported with the flags.
                IndirectFault::Nested => {}
                IndirectFault::Length => verdicts.violated(INDIRECT_LENGTH, queue, message),
                IndirectFault::OutsideMemory => verdicts.violated(INDIRECT_MEMORY, queue, message),
            }
        }
        ChainEnd::OutsideMemory => {
            let (addr, len) = last.map_or((0, 0), |e| (e.addr, e.len));
            let message = format!("chain {head} has a buffer of {len} bytes at {addr:#x}");
            verdicts.violated(IN_MEMORY, queue, message);
        }
    }
}

/// Whether an index occurs twice.
fn returns(indices: impl Iterator<Item = u16>) -> bool {
    let mut seen = vec![0_u64; 1024];
    indices.into_iter().any(|index| {
        let (word, bit) = (&mut seen[usize::from(index / 64)], 1 << (index % 64));
        let again = *word & bit != 0;
        *word |= bit;
        again
    })
}
