/** IMGDIFF2, the file: `formats/android.md` section 6.5. Header, then one record a chunk, then the BSDIFF40 patches. */
import { layout, s32, text, u32, u64 } from "../../core/layout.ts";

const SOURCE = "section 6.5";

export const IMGDIFF2_MAGIC = "IMGDIFF2";

/** Chunk types. 1 was GZIP of IMGDIFF1 and is refused. */
export const CHUNK_TYPE = Object.freeze({ NORMAL: 0, DEFLATE: 2, RAW: 3 });

export const IMGDIFF_HEADER = layout("imgdiff header", 12, {
  magic: text(0, 8, { meaning: "`IMGDIFF2`", source: SOURCE }),
  chunkCount: u32(8, { meaning: "number of chunk records", source: SOURCE }),
});

export const NORMAL_RECORD = layout("normal chunk", 24, {
  sourceStart: u64(0, { meaning: "where the source range begins", unit: "bytes", source: SOURCE, hex: true }),
  sourceSize: u64(8, { meaning: "size of the source range", unit: "bytes", source: SOURCE }),
  patchOffset: u64(16, {
    meaning: "where the chunk's BSDIFF40 begins in this file",
    unit: "bytes",
    source: SOURCE,
    hex: true,
  }),
});

export const DEFLATE_RECORD = layout("deflate chunk", 60, {
  ...NORMAL_RECORD.fields,
  sourceExpandedSize: u64(24, {
    meaning: "size of the inflated source, with bonus data",
    unit: "bytes",
    source: SOURCE,
  }),
  targetExpandedSize: u64(32, { meaning: "size of the target before deflating", unit: "bytes", source: SOURCE }),
  level: s32(40, { meaning: "deflate level", source: SOURCE }),
  method: s32(44, { meaning: "deflate method, 8", source: SOURCE }),
  windowBits: s32(48, { meaning: "deflate window, -15: raw", source: SOURCE }),
  memLevel: s32(52, { meaning: "deflate memory level, 8", source: SOURCE }),
  strategy: s32(56, { meaning: "deflate strategy, 0", source: SOURCE }),
});

export const RAW_RECORD = layout("raw chunk", 4, {
  size: u32(0, { meaning: "bytes that follow this record", unit: "bytes", source: SOURCE }),
});
