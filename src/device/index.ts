/** `otaforge/device`: the ports' implementations on Node. */
export { nodeCodecs } from "./codecs.ts";
export { nodeDigests } from "./digests.ts";
export { openFileReader } from "./file-reader.ts";
