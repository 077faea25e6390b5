// How far an image is: its upload with pause and resume, or what the inspection found.
import Box from "@cloudscape-design/components/box";
import type { Image } from "../api/types";
import { StateBadge } from "./facts";
import { UploadCell } from "./upload-cell";

export function ImageState({ image }: { image: Image }) {
  if (image.state === "uploading") return <UploadCell image={image} />;
  return (
    <>
      <StateBadge state={image.state} />
      {image.reason && (
        <Box color="text-status-error" fontSize="body-s">
          {image.reason}
        </Box>
      )}
    </>
  );
}
