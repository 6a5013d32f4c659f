/** The UUIDs that VMs are known by. */
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

/** RFC 9562, section 6.6: the namespace of URLs. */
const URL_NAMESPACE = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex");

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** What QEMU answers for a VM that was given none. */
const NIL = "00000000-0000-0000-0000-000000000000";

/** In lower case; undefined when it is none, or the nil UUID that stands for none. */
export function readUuid(text: string): string | undefined {
  const uuid = text.toLowerCase();
  return UUID.test(uuid) && uuid !== NIL ? uuid : undefined;
}

/**
 * The UUID of a VM that has none of its own: of version 5 (RFC 9562, section 5.5), from the URL of its socket
 * (`file://host/run/vms/web1.sock`, RFC 8089). The same after every restart, and another on another machine.
 */
export function socketUuid(host: string, path: string): string {
  const url = `file://${encodeURIComponent(host.toLowerCase())}${pathToFileURL(path).pathname}`;
  const bytes = createHash("sha1").update(URL_NAMESPACE).update(url).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
