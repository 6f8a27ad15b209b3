/** What to do for a registry to know who asks. */
export function loginHint(registry: string): string {
  return `Log in: podman login ${registry} (or buildah login, docker login), as the user that this runs as.`;
}
