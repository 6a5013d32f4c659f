/** All pages of a list, true for one revision: when the cache changes in between, the list is read anew. */
import { RequestError } from "./protocol/errors.ts";
import { MAX_CACHE_LIMIT } from "./protocol/limits.ts";
import type { Params, Result } from "./protocol/message.ts";

/** A cache that changes this often while it is listed changes all the time. */
const MAX_ATTEMPTS = 20;

/** What an entry counts towards a cache's limit beside its key and value: `{"":""}`. */
const LINE_BYTES = 7;

export type WholeList = Omit<Result<"list">, "next">;

/** Whoever can be asked for a page. */
export interface ListReader {
  read(method: "list", params: Params<"list">): Promise<Result<"list">>;
}

/** Throws RequestError: `busy` when the cache never held still, `failed` when the list has no end. */
export async function listAll(reader: ListReader, prefix = ""): Promise<WholeList> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const all = await listOnce(reader, prefix);
    if (all) return all;
  }
  throw new RequestError("busy", "the keys change faster than they can be listed");
}

async function listOnce(reader: ListReader, prefix: string): Promise<WholeList | undefined> {
  const { next, ...all } = await reader.read("list", { prefix });
  let bytes = bytesOf(all);
  for (let after = next; after !== undefined;) {
    const page = await reader.read("list", { prefix, after });
    if (page.revision !== all.revision || page.epoch !== all.epoch) return undefined;
    bytes += bytesOf(page);
    // A guest is not trusted to come to an end by itself.
    if (page.entries.length === 0 || bytes > MAX_CACHE_LIMIT) {
      throw new RequestError("failed", "the list is longer than a cache can be");
    }
    all.entries.push(...page.entries);
    after = page.next;
  }
  return all;
}

/** At most what the entries count in the cache, whose limit counts bytes of lines: a value as base64 stands in its line so. */
function bytesOf({ entries }: Pick<WholeList, "entries">): number {
  return entries.reduce((sum, { key, value = "", base64 = "" }) => {
    return sum + LINE_BYTES + key.length + value.length + base64.length;
  }, 0);
}
