/** Who a URL names; an address of IPv6 without the brackets that it has there. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}
