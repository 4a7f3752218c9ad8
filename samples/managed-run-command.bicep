// imds-check as a managed run command (Microsoft.Compute/virtualMachines/runCommands) on a VM that exists, Linux or Windows.
//
// NOT DEPLOYED by those who wrote it, nor compiled: checked by a parser of Bicep, and against the reference of the resource.
// https://learn.microsoft.com/azure/templates/microsoft.compute/virtualmachines/runcommands
//
//   python3 build.py scripts   # makes dist/imds-check.sh, all that a Linux VM needs
//   az deployment group create --resource-group GROUP --template-file samples/managed-run-command.bicep \
//     --parameters vmName=VM script=@dist/imds-check.sh expectedMac=00-0D-3A-7F-20-04 expectedIp=10.0.0.4
//   az vm run-command show --resource-group GROUP --vm-name VM --name NAME --instance-view | imds-check decode
//
// For a Windows VM: script=@dist/imds-check.ps1 (in PowerShell, put what holds "@" in quotes). The script is a parameter, because a
// template that reads both scripts compiles only where both are built, and loadTextContent takes no more than 131,072 characters.
//
// NAME is the deployment's output. What limits a managed run command:
// - The instance view keeps the last 4 KB of each stream; the portal report fits. A blob gets everything.
// - A run command of one name runs again only when something in it changes, and a VM holds at most 25: each run has a name of
//   its own here, and `az vm run-command delete --resource-group GROUP --vm-name VM --name NAME` takes it away.
// - It needs the VM agent (Linux: 2.4.0.2 or later) and a way from the VM to Azure on port 443.

@description('The VM, in the resource group of the deployment.')
param vmName string

@description('The text of imds-check.sh for a Linux VM, or of imds-check.ps1 for a Windows VM: script=@FILE. A SAS may be in it.')
@secure()
@minLength(1)
param script string

@description('The region of the VM.')
param location string = resourceGroup().location

@description('The MAC address that Azure shows for the primary NIC (az vm nic show).')
param expectedMac string = ''

@description('The primary private IP address of the primary NIC.')
param expectedIp string = ''

@description('Windows: where the VM gets imds-check.exe. A SAS may be in it; base64 of the whole address survives every hand.')
@secure()
param exeUri string = ''

@description('More options of imds-check. Without blanks for Windows, where a value ends at the first one.')
param arguments string = ''

@description('A SAS address of an append blob (read, append, create, write) that gets all of standard output. Leave it empty for a VM that may not reach the storage account: the agent makes the blob before it runs the script, and does not run it when that fails.')
@secure()
param outputBlobUri string = ''

@description('The same for standard error.')
@secure()
param errorBlobUri string = ''

// The blobs have a SAS, and no managed identity (outputBlobManagedIdentity): the VM gets an identity's token from IMDS, which
// is the patient.

@description('Seconds after which the agent ends the script. Linux needs at most some 20; Windows may take 60 more for the download, 50 for the exe and 40 for what it looks at where that fails.')
@minValue(30)
@maxValue(600)
param timeoutInSeconds int = 240

@description('Lets the deployment fail when the report is not healthy: the script then ends with the exit code of the verdict.')
param treatFailureAsDeploymentFailure bool = false

@description('A new one for each run.')
param runCommandName string = 'imds-check-${utcNow('yyyyMMddTHHmmss')}'

// Without the empty ones: PowerShell would take the next parameter's name for the value.
var given = filter(
  [
    { name: 'ExpectedMac', value: expectedMac }
    { name: 'ExpectedIp', value: expectedIp }
    { name: 'Arguments', value: arguments }
    { name: 'ExitCode', value: treatFailureAsDeploymentFailure ? 'verdict' : '' }
  ],
  one => !empty(one.value)
)

resource vm 'Microsoft.Compute/virtualMachines@2024-11-01' existing = {
  name: vmName
}

// 2024-11-01 is what Azure CLI 2.91.0 uses; the stable versions after it (2025-04-01, 2025-11-01) have the same properties.
resource imdsCheck 'Microsoft.Compute/virtualMachines/runCommands@2024-11-01' = {
  parent: vm
  name: runCommandName
  location: location
  properties: {
    source: {
      script: script
    }
    parameters: given
    protectedParameters: empty(exeUri) ? [] : [{ name: 'ExeUri', value: exeUri }]
    outputBlobUri: empty(outputBlobUri) ? null : outputBlobUri
    errorBlobUri: empty(errorBlobUri) ? null : errorBlobUri
    timeoutInSeconds: timeoutInSeconds
    asyncExecution: false
    treatFailureAsDeploymentFailure: treatFailureAsDeploymentFailure
  }
}

@description('The name to ask for with az vm run-command show --instance-view.')
output runCommandName string = imdsCheck.name
