/** `otaforge/android/node`: what makers of packages take from a building machine with Node: keys in files, commands that sign, packers. */
export { signerFromCommand, signerFromFiles, type KeyFiles } from "./signing/keys.node.ts";
export { payloadSignerFromProgram, type PayloadSignerProgram } from "./signing/payload-signer.node.ts";
export { createPackers } from "./payload/packers.node.ts";
