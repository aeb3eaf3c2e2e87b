/** What operations a payload may hold (formats/android.md 8.1). */

export interface OperationType {
  readonly type: number;
  readonly name: string;
  /** Smallest minor version of a delta it may stand in; undefined: in none. */
  readonly sinceMinor?: number;
  /** Also in full payloads. */
  readonly full: boolean;
  /** It comes with data. */
  readonly data: boolean;
  /** It reads blocks of the old partition. */
  readonly source: boolean;
  /** This build applies it. */
  readonly applicable: boolean;
}

function operation(
  type: number,
  name: string,
  sinceMinor: number | undefined,
  has: { full?: boolean; data?: boolean; source?: boolean; shownOnly?: boolean },
): OperationType {
  return {
    type,
    name,
    ...(sinceMinor === undefined ? {} : { sinceMinor }),
    full: has.full ?? false,
    data: has.data ?? false,
    source: has.source ?? false,
    applicable: sinceMinor !== undefined && has.shownOnly !== true,
  };
}

export const OPERATION_TYPES: readonly OperationType[] = Object.freeze([
  operation(0, "REPLACE", 2, { full: true, data: true }),
  operation(1, "REPLACE_BZ", 2, { full: true, data: true }),
  operation(2, "MOVE", undefined, { source: true }),
  operation(3, "BSDIFF", undefined, { data: true, source: true }),
  operation(4, "SOURCE_COPY", 2, { source: true }),
  operation(5, "SOURCE_BSDIFF", 2, { data: true, source: true }),
  operation(6, "ZERO", 4, {}),
  operation(7, "DISCARD", 4, {}),
  operation(8, "REPLACE_XZ", 2, { full: true, data: true }),
  operation(9, "PUFFDIFF", 5, { data: true, source: true, shownOnly: true }),
  operation(10, "BROTLI_BSDIFF", 4, { data: true, source: true }),
  operation(11, "ZUCCHINI", 8, { data: true, source: true, shownOnly: true }),
  operation(12, "LZ4DIFF_BSDIFF", 9, { data: true, source: true, shownOnly: true }),
  operation(13, "LZ4DIFF_PUFFDIFF", 9, { data: true, source: true, shownOnly: true }),
]);

/** Numbers of the operations that are applied and written. */
export const OPERATION_NUMBER = Object.freeze({
  REPLACE: 0,
  REPLACE_BZ: 1,
  SOURCE_COPY: 4,
  SOURCE_BSDIFF: 5,
  ZERO: 6,
  DISCARD: 7,
  REPLACE_XZ: 8,
  BROTLI_BSDIFF: 10,
});

/** Name of an operation's number; unknown ones as `type 14`. */
export function operationName(type: number | undefined): string {
  return OPERATION_TYPES[type ?? 0]?.name ?? `type ${type}`;
}
