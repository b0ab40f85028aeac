//! The names of the program's maps and of its globals, as they stand in the object.

/// The program itself.
pub const PROGRAM: &str = "sluice";

/// Hash map from [`crate::ListenerKey`] to a `u32` that nothing reads: the addresses whose datagrams are taken.
pub const LISTENERS: &str = "LISTENERS";

/// XSKMAP of `queues * workers` entries; the socket of queue `q` and worker `w` is at `q * workers + w`. Its size is set at load.
pub const XSKS: &str = "XSKS";

/// Per-CPU array of `u64`: how many frames for a listener passed to the kernel, by [`crate::Pass`].
pub const PASSED: &str = "PASSED";

/// `u32`, set at load: how many workers there are, at least 1.
pub const WORKERS: &str = "WORKERS";

/// `u32`, set at load: [`STEER_BY_CALL_ID`] or [`STEER_BY_QUEUE`].
pub const STEER: &str = "STEER";

/// `u32`, set at load: the length, from the Ethernet header on, of the longest frame that a socket can take. Longer ones pass.
pub const FRAME_BYTES_MAX: &str = "FRAME_BYTES_MAX";

/// `u64`, set at load: the key of the hash.
pub const SEED: &str = "SEED";

/// The worker follows from the Call-ID.
pub const STEER_BY_CALL_ID: u32 = 0;

/// The worker is the receive queue's number modulo the number of workers.
pub const STEER_BY_QUEUE: u32 = 1;

/// Room in [`LISTENERS`] unless another size is set at load.
pub const LISTENERS_MAX: u32 = 1024;
