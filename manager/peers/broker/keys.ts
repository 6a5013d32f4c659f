/** The routing keys by which managers reach each other at the exchange. */
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { Addressee } from "../transport.ts";

export const EVERYONE_KEY = "managers";

export function managerKey(id: string): string {
  return `manager.${id}`;
}

export function vmKey(id: string): string {
  return `vm.${id}`;
}

export function routingKeyOf(to: Addressee): string {
  switch (to.type) {
    case "manager":
      return managerKey(to.id);
    case "vm":
      return vmKey(to.id);
    case "everyone":
      return EVERYONE_KEY;
    default:
      return unreachable(to);
  }
}
