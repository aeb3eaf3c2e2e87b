/** What a manifest says of differential records, as the SigmaStar installer takes it. */
import type { PromisedDifference } from "../sigmastar/index.ts";
import type { ManifestItem } from "../trust/index.ts";

export function promisedDifferences(items: readonly ManifestItem[]): PromisedDifference[] {
  return items.map(({ index, base, result }) => ({ record: index, result, ...(base === undefined ? {} : { base }) }));
}
