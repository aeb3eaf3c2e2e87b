/** Codes raised by `rehearse/`: exit class and one-line meaning. */
export const REHEARSE_CODES = {} as const;
