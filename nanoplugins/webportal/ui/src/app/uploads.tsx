// Uploads live as long as the tab, whatever page is shown; after a reload the file is chosen again and goes on.
import { useQueryClient } from "@tanstack/react-query";
import { createContext, useCallback, useContext, useMemo, useRef, useState, type ReactNode } from "react";
import { asProblem, type Problem } from "../api/problem";
import { upload, type UploadProgress } from "../api/upload";

export interface UploadState {
  file: File;
  path: string;
  progress: UploadProgress;
  isPaused: boolean;
  problem: Problem | null;
}

interface UploadsValue {
  uploads: ReadonlyMap<string, UploadState>;
  begin(imageId: string, path: string, file: File): void;
  pause(imageId: string): void;
  resume(imageId: string): void;
}

const UploadsContext = createContext<UploadsValue | null>(null);

export function UploadsProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [uploads, setUploads] = useState<ReadonlyMap<string, UploadState>>(new Map());
  const aborts = useRef(new Map<string, AbortController>());

  const change = useCallback((id: string, part: Partial<UploadState> | null) => {
    setUploads((before) => {
      const after = new Map(before);
      const old = after.get(id);
      if (part === null) after.delete(id);
      else if (old) after.set(id, { ...old, ...part });
      return after;
    });
  }, []);

  const begin = useCallback(
    (id: string, path: string, file: File) => {
      const progress = { sent: 0, total: file.size, bytesPerSecond: 0 };
      setUploads((before) => new Map(before).set(id, { file, path, progress, isPaused: false, problem: null }));
      const abort = new AbortController();
      aborts.current.set(id, abort);
      upload(path, file, (now) => change(id, { progress: now }), abort.signal)
        .then(() => change(id, null))
        .catch((error: unknown) => {
          if (abort.signal.aborted) change(id, { isPaused: true });
          else change(id, { isPaused: true, problem: asProblem(error) });
        })
        .finally(() => {
          for (const topic of ["disk-images", "media-images"]) void client.invalidateQueries({ queryKey: [topic] });
        });
    },
    [change, client],
  );

  const value = useMemo<UploadsValue>(
    () => ({
      uploads,
      begin,
      pause: (id) => aborts.current.get(id)?.abort(),
      resume: (id) => {
        const state = uploads.get(id);
        if (state) begin(id, state.path, state.file);
      },
    }),
    [uploads, begin],
  );
  return <UploadsContext.Provider value={value}>{children}</UploadsContext.Provider>;
}

export function useUploads(): UploadsValue {
  const value = useContext(UploadsContext);
  if (!value) throw new Error("UploadsProvider is missing");
  return value;
}
