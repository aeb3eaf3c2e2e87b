/** Codes raised by `sigmastar/`: exit class and one-line meaning. */
export const SIGMASTAR_CODES = {} as const;
