/** A regular file used as a raw target. */
import { OtaError, hexOffset } from "../core/index.ts";
import type { BlockTarget, OpenFile } from "../core/index.ts";

/** A file that stands for a partition keeps its size: writes past its end are refused. */
export function fileTarget(path: string, file: OpenFile): BlockTarget {
  const { size } = file;
  return {
    path,
    size,
    read: (offset, length) => file.read(offset, length),
    async write(offset, bytes) {
      if (!(offset >= 0 && offset + bytes.length <= size)) {
        throw new OtaError("DEVICE_TOO_SMALL", {
          what: "write reaches past the end of the target",
          where: `${path}, offset ${hexOffset(offset)}`,
          expected: `at most ${Math.max(0, size - offset)} bytes`,
          found: bytes.length,
        });
      }
      await file.write(offset, bytes);
    },
    flush: () => file.sync(),
    close: () => file.close(),
  };
}
