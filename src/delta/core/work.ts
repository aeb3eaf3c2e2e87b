/**
 * The two structures all steps of cover selection share, 32-bit fields at fixed offsets, and the limits of one range.
 *
 * A *job* is one window of old with its indexes and prices, the same for all workers. An *arena* belongs to one worker and
 * holds one range of new at a time. Positions in new count from the range's beginning; an *alignment* is old position
 * (from the window's beginning) minus new position.
 */

// Job.
export const JOB_OLD = 0; // address of the window
export const JOB_OLD_SIZE = 4;
export const JOB_STEP = 8; // distance of indexed seeds
export const JOB_BUCKETS = 12;
export const JOB_HEADS = 16; // buckets + 1 entries: where each bucket of positions begins
export const JOB_POSITIONS = 20; // of seeds, in steps; the bits above are their hash's lowest
export const JOB_SLOTS = 24; // of the table index; 0: none
export const JOB_TABLE = 28;
export const JOB_STRIDE = 32;
export const JOB_PRICES = 36; // differences: contexts x 256 x u16
export const JOB_LITERALS = 40; // extra bytes: previous byte x 256 x u16
export const JOB_PATIENT = 44; // 1: no longer steps where nothing is found
export const JOB_SPREAD = 48; // positions tried all over a bucket
export const JOB_SEED_BITS = 52; // low bits of an indexed position that hold seed position / step
export const JOB_PART_BITS = 56; // buckets of the seed index are put in order 2^this at a time
export const JOB_SIZE = 64;

// Arena.
export const ARENA_NEW = 0; // address of the range's bytes
export const ARENA_NEW_SIZE = 4;
export const ARENA_START = 8; // alignment expected at the beginning
export const ARENA_CANDIDATES = 12; // address; 3 x i32 each: start, end, alignment
export const ARENA_CANDIDATE_COUNT = 16;
export const ARENA_TABLES = 20; // the same for table candidates
export const ARENA_TABLE_COUNT = 24;
export const ARENA_STATES = 28; // address, STATES_SIZE bytes
export const ARENA_NODES = 32; // address, 3 x i32 each
export const ARENA_COVERS = 36; // address, 3 x i32 each: start, length, alignment
export const ARENA_COVER_COUNT = 40;
export const ARENA_COUNTS = 44; // address of the statistics: contexts x 256 x i32, then 65,536 x i32
export const ARENA_DIFF = 48; // address of the difference bytes
export const ARENA_DIFF_SIZE = 52;
export const ARENA_EXTRA = 56;
export const ARENA_EXTRA_SIZE = 60;
export const ARENA_RECENT = 64; // address of the recent segments and fetched buckets
export const ARENA_SIZE = 128;

/** Bytes of new that are worked on at a time. Borders are fixed, so that results do not depend on the number of workers. */
export const RANGE_SIZE = 4194304;
/** Most candidates, table candidates and nodes of one range; further ones are left out. */
export const MAX_CANDIDATES = 1048576;
export const MAX_TABLES = 262144;
export const MAX_NODES = 1048576;
/** Most entries of the seed index that are put in order in a worker's memory at once; 8 bytes each, where candidates come later. */
export const MAX_PART = 4194304;
/** Readable bytes needed in front of and behind old and new. */
export const GUARD = 128;

/** Contexts of a difference byte: zeros since the last change (1 to 15, more), or changes in a row (1, 2, more) x last byte. */
export const CONTEXTS = 784;
