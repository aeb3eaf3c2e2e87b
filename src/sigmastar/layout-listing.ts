/** The layout listing of v1.6 packages (specification section 3.5). */
import { OtaError } from "../core/errors.ts";
import type { PackageMap } from "./read.ts";
import { shownMask } from "./numbers.ts";

/**
 * One line per destination of every record: `index,source name,destination,0xmask`. Records without a destination give none.
 *
 * @throws OtaError SIGMASTAR_GENERATION_MISMATCH for a generation without source names and masks
 */
export function layoutListing(map: PackageMap): string {
  if (map.generation !== "v1.6") {
    throw new OtaError("SIGMASTAR_GENERATION_MISMATCH", {
      what: "only v1.6 packages have a layout listing",
      expected: "v1.6",
      found: map.generation,
    });
  }
  let out = "";
  for (const { index, head, destinations } of map.records) {
    for (const { path, mask } of destinations) {
      out += `${index},${head.sourceName ?? ""},${path},0x${shownMask(mask).toString(16)}\n`;
    }
  }
  return out;
}
