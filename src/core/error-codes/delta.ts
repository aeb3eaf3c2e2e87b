/** Codes raised by `delta/`: exit class and one-line meaning. */
export const DELTA_CODES = {} as const;
