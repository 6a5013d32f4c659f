/**
 * Runs in a guest, beside the agent and without a word with it: writes a line for each time that the file of a key is put
 * into its place (inotify(7)), which the agent does whenever the key was set, and for its removal.
 */
import { openSync, watch, writeSync } from "node:fs";

const [keyFiles = "", record = ""] = process.argv.slice(2);
const output = openSync(record, "w");
watch(keyFiles, (event, name) => {
  const isKey = event === "rename" && name?.startsWith(".") === false;
  if (isKey) writeSync(output, `set ${name}\n`);
});
writeSync(output, "recording\n");
