// Asks before something that can't be taken back; Cancel has the focus.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useRef, useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useFocusInDialog } from "./focus";
import { ProblemAlert } from "./problem";

interface ConfirmProps {
  title: string;
  actionLabel: string;
  children?: ReactNode;
  /** To be typed before the action can be chosen. */
  typeName?: string;
  onConfirm(): Promise<unknown>;
  onClose(): void;
}

export function Confirm({ title, actionLabel, children, typeName, onConfirm, onClose }: ConfirmProps) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const cancel = useRef<{ focus(): void }>(null);
  useFocusInDialog(cancel);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
      onClose();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Modal
      visible
      header={title}
      closeAriaLabel={t("close")}
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button ref={cancel as never} variant="link" onClick={onClose}>
              {t("cancel")}
            </Button>
            <Button
              variant="primary"
              loading={isBusy}
              disabled={typeName !== undefined && typed !== typeName}
              onClick={() => void run()}
            >
              {actionLabel}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {children}
        {typeName !== undefined && (
          <FormField label={t("typeName", { name: typeName })}>
            <Input value={typed} onChange={({ detail }) => setTyped(detail.value)} autoComplete={false} />
          </FormField>
        )}
        <ProblemAlert error={error} />
      </SpaceBetween>
    </Modal>
  );
}
