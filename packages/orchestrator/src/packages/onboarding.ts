import { KallioError } from '@kallio/codec';
import { openRepository, parseReference } from '@kallio/oci';
import { type ImagePolicy, verifyImage } from '@kallio/signature';
import type { Logger } from 'pino';
import type { Checked, StoredPackage } from '../store/packages.ts';
import type { Store } from '../store/store.ts';

/** What the image check works with. */
export interface OnboardingParts {
  readonly store: Store;
  readonly policy: () => ImagePolicy;
  readonly logger: Logger;
}

/**
 * Checks the images of uploaded packages, one after another. The state is in the store alone: a check that a crash
 * interrupted is made again at the next start.
 */
export class Onboarding {
  readonly #parts: OnboardingParts;
  #checking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(parts: OnboardingParts) {
    this.#parts = parts;
  }

  /** Takes up what was left unchecked. */
  resume(): void {
    for (const { id, state } of this.#parts.store.packages.all()) if (state === 'PROCESSING') this.due(id);
  }

  /** A package's content is there: check its image. */
  due(id: string): void {
    const { store, logger } = this.#parts;
    this.#checking = this.#checking.then(async () => {
      const found = store.packages.get(id);
      if (this.#closed || found?.state !== 'PROCESSING') return;
      try {
        const verdict = await this.#check(found);
        // COMMIT POINT: one statement, durable when it returns.
        store.packages.check(id, verdict);
        logger.info(
          { package: id, refusal: verdict.ok ? undefined : verdict.refusal.code },
          'package checked',
        );
      } catch (error) {
        logger.error({ err: error, package: id }, 'checking a package failed; the next start tries again');
      }
    });
  }

  /** Waits for the check under way; starts no other. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#checking;
  }

  async #check({ appd }: StoredPackage): Promise<Checked> {
    const reference = parseReference(appd?.swImageDescriptor.swImage ?? '');
    try {
      const verdict = await verifyImage(
        reference.digest ?? reference.tag ?? 'latest',
        openRepository(reference),
        this.#parts.policy(),
        new Date(),
      );
      if (!verdict.ok) return { ok: false, refusal: verdict.refusal };
      const { image, builder } = verdict;
      return { ok: true, digest: image.manifest.digest, builder, ports: tcpPorts(image.claims.ports) };
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
      return { ok: false, refusal: error.toJSON() };
    }
  }
}

/** The port numbers of `8080/tcp` and the like. */
function tcpPorts(exposed: readonly string[]): number[] {
  return exposed
    .filter((port) => /^\d+(?:\/tcp)?$/.test(port))
    .map((port) => Number.parseInt(port, 10))
    .filter((port) => port >= 1 && port <= 65_535)
    .slice(0, 16);
}
